//! Element-wise functions, matrix products, reductions and quantisation.

use std::ops::Neg;

use crate::builder::{Mismatch, show_ports};
use crate::graph::Attribute;
use crate::value::{broadcast, integers};
use crate::{DType, Value};

impl Neg for Value<'_> {
    type Output = Self;
    #[track_caller]
    fn neg(self) -> Self {
        self.unary("Neg", &[])
    }
}

impl<'g> Value<'g> {
    /// Matrix product over the last two axes; leading axes broadcast.
    #[track_caller]
    pub fn matmul(self, other: Self) -> Self {
        self.g.node("MatMul", &[self, other], &[], |p| {
            let wrong =
                || Mismatch::new("[.., m, k] and [.., k, n] of one float type", show_ports(p));
            let (a, b) = (&p[0].shape, &p[1].shape);
            if a.len() < 2 || b.len() < 2 || p[0].dtype != p[1].dtype || !p[0].dtype.is_float() {
                return Err(wrong());
            }
            let (m, k) = (a.len() - 2, a.len() - 1);
            if a[k] != b[b.len() - 2] {
                return Err(wrong());
            }
            let mut shape = broadcast(&a[..m], &b[..b.len() - 2]).ok_or_else(wrong)?;
            shape.extend([a[m].clone(), b[b.len() - 1].clone()]);
            Ok((p[0].dtype, shape))
        })
    }

    /// Softmax over the last axis.
    #[track_caller]
    pub fn softmax(self) -> Self {
        self.unary("Softmax", &[("axis", Attribute::Int(-1))])
    }

    /// e to the power of each element.
    #[track_caller]
    pub(crate) fn exp(self) -> Self {
        self.unary("Exp", &[])
    }

    /// 1, 0 or -1.
    #[track_caller]
    pub(crate) fn sign(self) -> Self {
        self.unary("Sign", &[])
    }

    /// Magnitude.
    #[track_caller]
    pub(crate) fn abs(self) -> Self {
        self.unary("Abs", &[])
    }

    /// Square root.
    #[track_caller]
    pub fn sqrt(self) -> Self {
        self.unary("Sqrt", &[])
    }

    /// `x · sigmoid(x)`.
    #[track_caller]
    pub fn silu(self) -> Self {
        self * self.unary("Sigmoid", &[])
    }

    /// GELU by the tanh approximation. ONNX's own default is erf, so the form is always named.
    #[track_caller]
    pub fn gelu_tanh(self) -> Self {
        self.unary("Gelu", &[("approximate", Attribute::Text("tanh"))])
    }

    /// GELU by the error function.
    #[track_caller]
    pub fn gelu_erf(self) -> Self {
        self.unary("Gelu", &[("approximate", Attribute::Text("none"))])
    }

    /// At least `low`.
    #[track_caller]
    pub fn at_least(self, low: f32) -> Self {
        self.binary_limit("Max", low)
    }

    /// At most `high`.
    #[track_caller]
    pub fn at_most(self, high: f32) -> Self {
        self.binary_limit("Min", high)
    }

    #[track_caller]
    fn binary_limit(self, op: &'static str, limit: f32) -> Self {
        let limit = self.scalar(limit);
        self.g.node(op, &[self, limit], &[], |p| Ok((p[0].dtype, p[0].shape.clone())))
    }

    /// Mean over `axis`, which stays with size 1.
    #[track_caller]
    pub fn mean(self, axis: usize) -> Self {
        self.reduce("ReduceMean", axis)
    }

    /// Less the mean over `axis`.
    #[track_caller]
    pub(crate) fn centered(self, axis: usize) -> Self {
        self - self.mean(axis)
    }

    /// Sum over `axis`, which stays with size 1.
    #[track_caller]
    pub fn sum(self, axis: usize) -> Self {
        self.reduce("ReduceSum", axis)
    }

    /// Largest element along `axis`, which stays with size 1.
    #[track_caller]
    pub(crate) fn max(self, axis: usize) -> Self {
        self.reduce("ReduceMax", axis)
    }

    #[track_caller]
    fn reduce(self, op: &'static str, axis: usize) -> Self {
        let axes = integers(self.g, &[axis as i64]);
        self.g.node(op, &[self, axes], &[("keepdims", Attribute::Int(1))], |p| {
            let mut shape = p[0].shape.clone();
            let Some(size) = shape.get_mut(axis) else {
                return Err(Mismatch::new(format!("an operand with axis {axis}"), show_ports(p)));
            };
            *size = 1.into();
            Ok((p[0].dtype, shape))
        })
    }

    /// Largest magnitudes over all axes but those in `kept`, which remain.
    #[track_caller]
    pub(crate) fn amax(self, kept: &[usize]) -> Self {
        let shape = self.shape();
        let reduced = (0..shape.len()).filter(|axis| !kept.contains(axis));
        let axes: Vec<i64> = reduced.map(|axis| axis as i64).collect();
        let axes = integers(self.g, &axes);
        let magnitudes = self.abs();
        let keepdims = ("keepdims", Attribute::Int(0));
        self.g.node("ReduceMax", &[magnitudes, axes], &[keepdims], |p| {
            Ok((p[0].dtype, kept.iter().map(|&axis| shape[axis].clone()).collect()))
        })
    }

    /// Rows of this table (axis 0) at `indices`, whose shape replaces that axis.
    #[track_caller]
    pub fn gather(self, indices: Self) -> Self {
        self.g.node("Gather", &[self, indices], &[("axis", Attribute::Int(0))], |p| {
            if p[1].dtype != DType::I64 || p[0].shape.is_empty() {
                return Err(Mismatch::new("a table and i64 indices", show_ports(p)));
            }
            Ok((p[0].dtype, [&p[1].shape[..], &p[0].shape[1..]].concat()))
        })
    }
}
