//! The attention layers of a DiT block: norms over all heads, rotation, products (spec B.5).
//!
//! In FP8 everything between the projections is one node for TensorRT, and primitives that round
//! where it does for the CPU. Elsewhere it is the primitives that TensorRT fuses.

use super::{attention, rotate_half};
use crate::builder::Mismatch;
use crate::graph::Layout;
use crate::ops::{E4M3_MAX, FP8_ATTENTION, Fp8Attention};
use crate::value::scalar;
use crate::{Fp8AttentionScales, Precision, Scope, Value};

/// Sizes of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct DitAttention {
    /// Number of heads.
    pub heads: usize,
    /// Channels per head.
    pub head_dim: usize,
    /// Of the root-mean-square norms of queries and keys.
    pub eps: f32,
}

/// Rotary angles of `n` tokens.
#[derive(Clone, Copy)]
pub struct Rope<'g> {
    /// Cosines and sines, f32 `[n, head_dim / 2]`.
    pub f32: [Value<'g>; 2],
    /// The same in the graph's compute type.
    pub compute: [Value<'g>; 2],
}

impl DitAttention {
    /// Attention of `x` `[1, n, channels]` to itself, before the output projection.
    #[track_caller]
    pub fn self_attention<'g>(&self, s: &Scope<'g>, x: Value<'g>, rope: Rope<'g>) -> Value<'g> {
        let layout = Layout::RotateHalf { head_dim: self.head_dim };
        let project = |to| s.linear_as(to, x, self.channels(), layout);
        if let Some(node) = self.node(s) {
            let qkv = [project("to_q"), project("to_k"), s.linear("to_v", x, self.channels())];
            let norms = ["norm_q", "norm_k"].map(|norm| s.norm_weight(norm, qkv[0], layout));
            return dequantized(node.self_attention(qkv, norms, rope.f32), node.scales.out);
        }
        let rotated = |to, norm| {
            let y = self.split(s.rms_norm(norm, project(to), self.eps, layout));
            rotate_half(y, rope.compute[0], rope.compute[1])
        };
        let (q, k) = (rotated("to_q", "norm_q"), rotated("to_k", "norm_k"));
        let k = match s.graph().precision.attention(s.path()) {
            // Every row is a token, so all of them count.
            Some(scales) if scales.center_keys => k.centered(2),
            Some(_) => k,
            None => {
                s.graph().tap_centered_keys(s.path(), k);
                k
            }
        };
        self.attend(s, q, k, self.split(s.linear("to_v", x, self.channels())))
    }

    /// Attention of `x` `[1, n, channels]` to the cached keys and values of layer `layer`,
    /// `[layers, 1, heads, m, head_dim]` each, before the output projection. No rotation, and scales
    /// that want these keys centred are refused.
    #[track_caller]
    pub fn cross_attention<'g>(
        &self,
        s: &Scope<'g>,
        x: Value<'g>,
        keys_values: [Value<'g>; 2],
        layer: usize,
    ) -> Value<'g> {
        if s.graph().precision.attention(s.path()).is_some_and(|scales| scales.center_keys) {
            let found = format!("center_keys at {}, whose keys are cached", s.path());
            let refused = Mismatch::new("center_keys in self attention only", found);
            s.graph().fail(FP8_ATTENTION, refused);
        }
        let q = s.linear("to_q", x, self.channels());
        if let Some(node) = self.node(s) {
            let norm = s.norm_weight("norm_q", q, Layout::AsIs);
            let cached = keys_values.map(|stack| stack.index(layer));
            return dequantized(node.cross_attention(q, cached, norm), node.scales.out);
        }
        let q = s.rms_norm("norm_q", q, self.eps, Layout::AsIs);
        let [k, v] = keys_values.map(|stack| stack.index(layer));
        self.attend(s, self.split(q), k, v)
    }

    /// `[b, n, heads·d]` to `[b, heads, n, d]`.
    #[track_caller]
    pub fn split<'g>(&self, x: Value<'g>) -> Value<'g> {
        x.rearrange("b n (h d) -> b h n d", &[("h", self.heads.into())])
    }

    fn channels(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The node that computes all of it, where the attention of `s` is one.
    fn node(&self, s: &Scope<'_>) -> Option<Fp8Attention> {
        let precision = s.graph().precision;
        let scales = precision.attention(s.path())?;
        let is_node = matches!(precision, Precision::Fp8(_));
        is_node.then_some(Fp8Attention { heads: self.heads, eps: self.eps, scales })
    }

    /// Products and softmax of normalised and rotated operands, from heads `[1, heads, n, d]` to
    /// `[1, n, heads·d]`.
    #[track_caller]
    fn attend<'g>(&self, s: &Scope<'g>, q: Value<'g>, k: Value<'g>, v: Value<'g>) -> Value<'g> {
        let scale = (self.head_dim as f32).sqrt().recip();
        let merge = |y: Value<'g>| y.rearrange("b h n d -> b n (h d)", &[]);
        match s.graph().precision.attention(s.path()) {
            Some(scales) => {
                merge(attention_of_e4m3(q, k, v, scale, &scales)).fake_quantize(scales.out)
            }
            None => {
                s.graph().tap_attention_amax(s.path(), [q, k, v]);
                merge(attention(q, k, v, Some(scale), None))
            }
        }
    }
}

/// Real values of the node's output, in the compute type: the next linear layer reads E4M3.
fn dequantized(codes: Value<'_>, scale: f32) -> Value<'_> {
    codes.dequantize(scalar(codes.g, codes.g.precision.compute(), scale))
}

/// Attention that rounds where the FP8 node does; sums are those of the probabilities before
/// rounding, as the kernel keeps them.
#[track_caller]
fn attention_of_e4m3<'g>(
    q: Value<'g>,
    k: Value<'g>,
    v: Value<'g>,
    scale: f32,
    scales: &Fp8AttentionScales,
) -> Value<'g> {
    let (q, k, v) =
        (q.fake_quantize(scales.q), k.fake_quantize(scales.k), v.fake_quantize(scales.v));
    let scores = q.matmul(k.transpose_last()).scale(scale);
    let p = (scores - scores.max(3)).exp();
    p.fake_quantize(E4M3_MAX.recip()).matmul(v).div(p.sum(3))
}
