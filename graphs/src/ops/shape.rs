//! Slices, joins and every kind of reshape.

use std::ops::Range;

use crate::builder::{Fact, Mismatch, show_ports};
use crate::graph::Attribute;
use crate::pattern::{Axes, Pattern};
use crate::value::integers;
use crate::{DType, Dim, GraphBuilder, Port, Value};

impl<'g> Value<'g> {
    /// Splits, reorders and merges axes: `x.rearrange("b n (h d) -> b h n d", &[("h", 40.into())])`.
    ///
    /// Sizes that cannot be inferred are given by name; a literal `1` drops or adds an axis.
    #[track_caller]
    pub fn rearrange(self, pattern: &str, sizes: &[(&str, Dim)]) -> Self {
        let Some(port) = self.port() else { return self };
        let plan = Pattern::parse(pattern).and_then(|p| p.plan(&port.shape, sizes));
        let Axes { split, order, merged } = match plan {
            Ok(plan) => plan,
            Err(reason) => {
                let found = format!("{reason} for {}", show_ports(&[port]));
                return self.g.fail("rearrange", Mismatch::new(pattern, found));
            }
        };
        let straight = order.windows(2).all(|w| w[0] < w[1]);
        let x = self.reshape(&split);
        let x = if straight { x } else { x.transpose(&order) };
        x.reshape(&merged)
    }

    /// Swaps the last two axes.
    #[track_caller]
    pub(crate) fn transpose_last(self) -> Self {
        let rank = self.shape().len();
        let mut order: Vec<_> = (0..rank).collect();
        if rank >= 2 {
            order.swap(rank - 2, rank - 1);
        }
        self.transpose(&order)
    }

    #[track_caller]
    fn transpose(self, order: &[usize]) -> Self {
        let perm = Attribute::Ints(order.iter().map(|&axis| axis as i64).collect());
        self.g.node("Transpose", &[self], &[("perm", perm)], |p| {
            Ok((p[0].dtype, order.iter().map(|&axis| p[0].shape[axis].clone()).collect()))
        })
    }

    /// Sizes as ONNX wants them: 0 copies an axis and -1 stands for one unknown. Sizes that neither
    /// can say are computed from the inputs at run time, where a 0 is a size.
    #[track_caller]
    fn reshape(self, shape: &[Dim]) -> Self {
        let from = self.shape();
        if from == shape {
            return self;
        }
        let literal = |axis: usize| match shape[axis].number() {
            Some(n) => Some(n as i64),
            None => (from.get(axis) == Some(&shape[axis])).then_some(0),
        };
        let unknown = (0..shape.len()).filter(|&axis| literal(axis).is_none()).count();
        let (target, attributes) = if unknown <= 1 {
            let sizes: Vec<_> = (0..shape.len()).map(|i| literal(i).unwrap_or(-1)).collect();
            (integers(self.g, &sizes), vec![])
        } else {
            (runtime_shape(self.g, shape), vec![("allowzero", Attribute::Int(1))])
        };
        self.g.node("Reshape", &[self, target], &attributes, |p| Ok((p[0].dtype, shape.to_vec())))
    }

    /// Elements `range` of `axis`; negative bounds count from the end, `i64::MAX` is the end.
    #[track_caller]
    pub fn slice(self, axis: usize, range: Range<i64>) -> Self {
        let bounds = [range.start, range.end, axis as i64].map(|n| integers(self.g, &[n]));
        let inputs = [self, bounds[0], bounds[1], bounds[2]];
        self.g.node("Slice", &inputs, &[], |p| slice_fact(&p[0], axis, &range))
    }

    /// Element `index` of the first axis, which disappears.
    #[track_caller]
    pub fn index(self, index: usize) -> Self {
        self.gather(self.g.constant(DType::I64, &[], (index as i64).to_le_bytes().into()))
    }

    /// The two halves of the last axis.
    #[track_caller]
    pub(crate) fn halves(self) -> [Self; 2] {
        let axis = self.shape().len().saturating_sub(1);
        let width = self.width() as i64;
        [self.slice(axis, 0..width / 2), self.slice(axis, width / 2..width)]
    }
}

fn slice_fact(x: &Port, axis: usize, range: &Range<i64>) -> Fact {
    let wrong = || {
        let expected = format!("axis {axis} to hold elements {}..{}", range.start, range.end);
        Mismatch::new(expected, show_ports(std::slice::from_ref(x)))
    };
    let size = x.shape.get(axis).ok_or_else(wrong)?;
    let place = |bound: i64| match bound {
        i64::MAX => size.clone(),
        bound if bound < 0 => size - &(bound.unsigned_abs() as usize).into(),
        bound => (bound as usize).into(),
    };
    let (start, end) = (place(range.start), place(range.end));
    if let (Some(start), Some(end), Some(size)) = (start.number(), end.number(), size.number())
        && !(start < end && end <= size)
    {
        return Err(wrong());
    }
    let mut shape = x.shape.clone();
    shape[axis] = &end - &start;
    Ok((x.dtype, shape))
}

/// Joins values along `axis`.
#[track_caller]
pub fn concat<'g>(axis: usize, values: &[Value<'g>]) -> Value<'g> {
    let g = values[0].g;
    g.node("Concat", values, &[("axis", Attribute::Int(axis as i64))], |p| {
        let wrong =
            || Mismatch::new(format!("equal types and sizes but for axis {axis}"), show_ports(p));
        let mut shape = p[0].shape.clone();
        let mut size = Dim::from(0);
        for port in p {
            let length = port.shape.get(axis).ok_or_else(wrong)?;
            size = &size + length;
            shape[axis] = length.clone();
            if port.shape != shape || port.dtype != p[0].dtype {
                return Err(wrong());
            }
        }
        shape[axis] = size;
        Ok((p[0].dtype, shape))
    })
}

/// Zeros of a shape that may hold symbols.
#[track_caller]
pub fn zeros<'g>(g: &'g GraphBuilder<'g>, dtype: DType, shape: &[Dim]) -> Value<'g> {
    let sizes = runtime_shape(g, shape);
    let value = Attribute::Tensor(0.0);
    let zeros = g.node("ConstantOfShape", &[sizes], &[("value", value)], |_| {
        Ok((DType::F32, shape.to_vec()))
    });
    zeros.cast(dtype)
}

/// A shape as an i64 vector computed from the graph's inputs.
fn runtime_shape<'g>(g: &'g GraphBuilder<'g>, shape: &[Dim]) -> Value<'g> {
    let sizes: Vec<_> = shape.iter().map(|dim| runtime_size(g, dim)).collect();
    concat(0, &sizes)
}

/// One size as an i64 vector of one element.
fn runtime_size<'g>(g: &'g GraphBuilder<'g>, dim: &Dim) -> Value<'g> {
    let one = |n: i64| integers(g, &[n]);
    dim.terms()
        .fold(None, |sum, (factor, symbols)| {
            let start = one(factor);
            let term = symbols.iter().fold(start, |x, s| x * symbol_size(g, s));
            Some(sum.map_or(term, |sum: Value<'g>| sum + term))
        })
        .unwrap_or_else(|| one(0))
}

/// The run-time size of a symbol, read off an input that has it.
fn symbol_size<'g>(g: &'g GraphBuilder<'g>, symbol: &'static str) -> Value<'g> {
    g.once(symbol, || {
        let Some((input, axis, factor)) = g.find_symbol(symbol) else {
            let found = "no input that has it".to_string();
            return g.fail("size", Mismatch::new(format!("symbol {symbol} in an input"), found));
        };
        let range = [("start", axis as i64), ("end", axis as i64 + 1)];
        let range = range.map(|(name, n)| (name, Attribute::Int(n)));
        let size = g.node("Shape", &[input], &range, |_| Ok((DType::I64, vec![1.into()])));
        if factor == 1 { size } else { size.div(integers(g, &[factor])) }
    })
}
