//! Composites without weights of their own. Each is lowered in this one place, because
//! TensorRT's fusion is particular about form.

mod attention;

use crate::Value;
use crate::ops::{concat, ones};

pub use attention::{DitAttention, Rope};

/// Layer normalisation over the last axis without weights: statistics and result in f32.
#[track_caller]
pub fn layer_norm(x: Value<'_>, eps: f32) -> Value<'_> {
    x.to_f32().layer_norm_f32(ones(x.g, x.width()), None, eps)
}

/// Attention of `q` `[b, heads, n, d]` over `k`, `v` `[b, heads, m, d]` plus an additive `bias`
/// that broadcasts to `[b, heads, n, m]`.
///
/// `scale` multiplies q before the product: the form of MatMul, Softmax, MatMul that TensorRT
/// fuses into one kernel.
#[track_caller]
pub fn attention<'g>(
    q: Value<'g>,
    k: Value<'g>,
    v: Value<'g>,
    scale: Option<f32>,
    bias: Option<Value<'g>>,
) -> Value<'g> {
    let q = scale.map_or(q, |scale| q.scale(scale));
    let scores = q.matmul(k.transpose_last());
    let scores = bias.map_or(scores, |bias| scores + bias);
    scores.softmax().matmul(v)
}

/// Rotary embedding by rotate-half: `x` `[.., n, d]`; `cos` and `sin` `[.., n, d/2]` broadcast.
///
/// x·[cos cos] + [−x₂ x₁]·[sin sin] is the fastest of five forms in TensorRT 10.6.
#[track_caller]
pub fn rotate_half<'g>(x: Value<'g>, cos: Value<'g>, sin: Value<'g>) -> Value<'g> {
    let axis = x.shape().len().saturating_sub(1);
    let [a, b] = x.halves();
    x * twice(cos) + concat(axis, &[-b, a]) * twice(sin)
}

fn twice<'g>(x: Value<'g>) -> Value<'g> {
    let name = x.port().map(|port| format!("twice {}", port.name)).unwrap_or_default();
    x.g.once(&name, || concat(x.shape().len().saturating_sub(1), &[x, x]))
}
