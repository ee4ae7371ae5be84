//! Typed values and their arithmetic.

use std::ops::{Add, Mul, Sub};

use half::bf16;

use crate::builder::{Mismatch, show_ports};
use crate::graph::Attribute;
use crate::{DType, Dim, GraphBuilder, Port};

/// A value of the graph: an index into the builder's arena, free to copy.
///
/// Its type and shape are known from the moment it is made. Arithmetic on two types is an error,
/// since a strongly typed network refuses it too; [`Value::cast`] says every conversion.
#[derive(Clone, Copy)]
pub struct Value<'g> {
    pub(crate) g: &'g GraphBuilder<'g>,
    id: Option<u32>,
}

impl<'g> Value<'g> {
    pub(crate) fn new(g: &'g GraphBuilder<'g>, id: u32) -> Self {
        Self { g, id: Some(id) }
    }

    pub(crate) fn poisoned(g: &'g GraphBuilder<'g>) -> Self {
        Self { g, id: None }
    }

    pub(crate) fn id(self) -> u32 {
        self.id.expect("invariant: only values that were just made are asked for their id")
    }

    /// Name, type and shape; `None` for a value that an earlier mistake poisoned.
    pub fn port(self) -> Option<Port> {
        self.id.map(|id| self.g.port(id))
    }

    /// Shape; empty for a poisoned value.
    pub fn shape(self) -> Vec<Dim> {
        self.port().map(|port| port.shape).unwrap_or_default()
    }

    /// Size of `axis` where it is a number; 0 for a symbol or a poisoned value, which every layer
    /// refuses.
    pub(crate) fn size(self, axis: usize) -> usize {
        self.shape().get(axis).and_then(Dim::number).unwrap_or(0)
    }

    /// [`Value::size`] of the last axis.
    pub(crate) fn width(self) -> usize {
        self.size(self.shape().len().saturating_sub(1))
    }

    /// Element type; the graph's compute type for a poisoned value.
    pub fn dtype(self) -> DType {
        self.port().map_or(self.g.precision.compute(), |port| port.dtype)
    }

    /// A scalar constant of this value's type.
    pub(crate) fn scalar(self, x: f32) -> Value<'g> {
        scalar(self.g, self.dtype(), x)
    }

    /// Converts to `dtype`; no node where it is that already.
    #[track_caller]
    pub fn cast(self, dtype: DType) -> Self {
        if self.dtype() == dtype {
            return self;
        }
        let to = Attribute::Int(dtype.onnx().into());
        self.g.node("Cast", &[self], &[("to", to)], |p| Ok((dtype, p[0].shape.clone())))
    }

    /// Into an f32 island.
    #[track_caller]
    pub fn to_f32(self) -> Self {
        self.cast(DType::F32)
    }

    /// Back to the graph's compute type.
    #[track_caller]
    pub fn to_compute(self) -> Self {
        self.cast(self.g.precision.compute())
    }

    /// Times a constant.
    #[track_caller]
    pub fn scale(self, factor: f32) -> Self {
        self * self.scalar(factor)
    }

    /// Plus a constant.
    #[track_caller]
    pub fn shift(self, term: f32) -> Self {
        self + self.scalar(term)
    }

    #[track_caller]
    pub(crate) fn div(self, divisor: Self) -> Self {
        self.binary("Div", divisor)
    }

    #[track_caller]
    fn binary(self, op: &'static str, other: Self) -> Self {
        self.g.node(op, &[self, other], &[], |p| {
            let same = p[0].dtype == p[1].dtype;
            let shape = broadcast(&p[0].shape, &p[1].shape).filter(|_| same);
            let expected = "two operands of one type whose shapes broadcast";
            Ok((p[0].dtype, shape.ok_or_else(|| Mismatch::new(expected, show_ports(p)))?))
        })
    }

    #[track_caller]
    pub(crate) fn unary(self, op: &'static str, attributes: &[(&'static str, Attribute)]) -> Self {
        self.g.node(op, &[self], attributes, |p| {
            if !p[0].dtype.is_float() {
                return Err(Mismatch::new("a floating point operand", show_ports(p)));
            }
            Ok((p[0].dtype, p[0].shape.clone()))
        })
    }
}

/// A scalar constant.
pub(crate) fn scalar<'g>(g: &'g GraphBuilder<'g>, dtype: DType, x: f32) -> Value<'g> {
    let bytes = match dtype {
        DType::F32 => x.to_le_bytes().to_vec(),
        DType::Bf16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        DType::I64 => (x as i64).to_le_bytes().to_vec(),
        DType::E4m3 => vec![0],
    };
    g.constant(dtype, &[], bytes)
}

/// A one-dimensional constant of indices or sizes.
pub(crate) fn integers<'g>(g: &'g GraphBuilder<'g>, values: &[i64]) -> Value<'g> {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    g.constant(DType::I64, &[values.len()], bytes)
}

/// The shape that numpy's rule gives two operands.
pub(crate) fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let one = Dim::from(1);
    let axis = |shape: &[Dim], i: usize| match (i + shape.len()).checked_sub(rank) {
        Some(i) => shape[i].clone(),
        None => one.clone(),
    };
    (0..rank)
        .map(|i| match (axis(a, i), axis(b, i)) {
            (x, y) if x == y || y == one => Some(x),
            (x, y) if x == one => Some(y),
            _ => None,
        })
        .collect()
}

impl Add for Value<'_> {
    type Output = Self;
    #[track_caller]
    fn add(self, other: Self) -> Self {
        self.binary("Add", other)
    }
}

impl Sub for Value<'_> {
    type Output = Self;
    #[track_caller]
    fn sub(self, other: Self) -> Self {
        self.binary("Sub", other)
    }
}

impl Mul for Value<'_> {
    type Output = Self;
    #[track_caller]
    fn mul(self, other: Self) -> Self {
        self.binary("Mul", other)
    }
}
