//! E4M3: rounding to it, and the one op that only TensorRT has, as a plugin of ours.

use crate::builder::{Mismatch, show_ports};
use crate::graph::Attribute;
use crate::onnx::DOMAIN;
use crate::value::scalar;
use crate::{DType, Dim, Fp8AttentionScales, Value};

/// Op type of [`Fp8Attention::node`].
pub(crate) const FP8_ATTENTION: &str = "Fp8Attention";
/// Largest finite E4M3 value.
pub(crate) const E4M3_MAX: f32 = 448.0;
/// Channels per head of an attention that runs as one FP8 node: the kernels have no other.
pub const FP8_HEAD_DIM: usize = 128;

impl<'g> Value<'g> {
    /// Rounds to E4M3 and back: the Q/DQ pair that makes the next product an FP8 one.
    ///
    /// A value that comes out of [`Value::dequantize`] is such a one already and stays as it is.
    #[track_caller]
    pub(crate) fn fake_quantize(self, scale: f32) -> Self {
        if self.g.is_dequantized(self) {
            return self;
        }
        let (scale, zero) = (self.scalar(scale), scalar(self.g, DType::E4m3, 0.0));
        let q = self.g.node("QuantizeLinear", &[self, scale, zero], &[], |p| {
            Ok((DType::E4m3, p[0].shape.clone()))
        });
        q.dequantize(scale)
    }

    /// Real values of an E4M3 tensor, in the type of `scale`.
    #[track_caller]
    pub(crate) fn dequantize(self, scale: Value<'g>) -> Self {
        let zero = scalar(self.g, DType::E4m3, 0.0);
        let real = self.g.node("DequantizeLinear", &[self, scale, zero], &[], |p| {
            if p[0].dtype != DType::E4m3 {
                return Err(Mismatch::new("an e4m3 operand", show_ports(p)));
            }
            Ok((p[1].dtype, p[0].shape.clone()))
        });
        self.g.mark_dequantized(real);
        real
    }
}

/// Norm, rotation, rounding and attention in one node of the domain `bernini`.
///
/// q̂ = rope(rms_norm(q)·norm_q) is computed in f32 and rounded once to E4M3, k̂ likewise, v without
/// norm. Where `center_keys` is 1, the mean over tokens of every channel, in f32, is subtracted from
/// k̂ before it is rounded: all scores of a query change by the same number, which their softmax does
/// not see. The unnormalised probabilities p = exp(s − max) are rounded to E4M3 as 448·p, and
/// Σ p·v / Σ p, summed in f32, once more with the output's scale.
pub(crate) struct Fp8Attention {
    /// Number of heads, of 128 channels each.
    pub heads: usize,
    /// Of the norm over all channels.
    pub eps: f32,
    /// Of what is rounded.
    pub scales: Fp8AttentionScales,
}

impl Fp8Attention {
    /// Attention of tokens to themselves: bf16 `[1, n, heads·128]` each, not yet normalised; weights
    /// of both norms; f32 cosines and sines `[n, 64]`. Gives E4M3 of the same shape.
    #[track_caller]
    pub(crate) fn self_attention<'g>(
        &self,
        qkv: [Value<'g>; 3],
        norms: [Value<'g>; 2],
        rope: [Value<'g>; 2],
    ) -> Value<'g> {
        let inputs = [&qkv[..], &norms, &rope].concat();
        let [rows, angles] = [qkv[0].shape(), rope[0].shape()];
        let channels = [Dim::from(self.heads * FP8_HEAD_DIM)];
        let half = FP8_HEAD_DIM / 2;
        let fits = rows.len() == 3 && angles[..] == [rows[1].clone(), half.into()];
        let expected = [&rows[..], &rows, &rows, &channels, &channels, &angles, &angles];
        self.node(&inputs, &expected, true, fits)
    }

    /// Attention to cached keys, which are normalised, and values, bf16 `[1, heads, m, 128]` each;
    /// `q` is bf16 `[1, n, heads·128]`, not yet normalised. Gives E4M3 of `q`'s shape.
    #[track_caller]
    pub(crate) fn cross_attention<'g>(
        &self,
        q: Value<'g>,
        [keys, values]: [Value<'g>; 2],
        norm_q: Value<'g>,
    ) -> Value<'g> {
        let [rows, cache] = [q.shape(), keys.shape()];
        let channels = [Dim::from(self.heads * FP8_HEAD_DIM)];
        let fits = rows.len() == 3
            && cache.len() == 4
            && cache[..2] == [1.into(), self.heads.into()]
            && cache[3] == FP8_HEAD_DIM.into();
        let expected = [&rows[..], &cache, &cache, &channels];
        self.node(&[q, keys, values, norm_q], &expected, false, fits)
    }

    #[track_caller]
    fn node<'g>(
        &self,
        inputs: &[Value<'g>],
        expected: &[&[Dim]],
        rope: bool,
        fits: bool,
    ) -> Value<'g> {
        let Fp8AttentionScales { q, k, v, out, center_keys } = self.scales;
        let attributes = [
            ("plugin_namespace", Attribute::Text(DOMAIN)),
            ("plugin_version", Attribute::Text("2")),
            ("heads", Attribute::Int(self.heads as i64)),
            ("rope", Attribute::Int(rope.into())),
            ("center_keys", Attribute::Int(center_keys.into())),
            ("eps", Attribute::Float(self.eps)),
            ("q_scale", Attribute::Float(q)),
            ("k_scale", Attribute::Float(k)),
            ("v_scale", Attribute::Float(v)),
            ("out_scale", Attribute::Float(out)),
        ];
        inputs[0].g.node(FP8_ATTENTION, inputs, &attributes, |p| {
            // Angles alone are f32: the others are in the compute type of an FP8 graph.
            let dtype = |i| if i < 5 { DType::Bf16 } else { DType::F32 };
            let same = p
                .iter()
                .zip(expected)
                .enumerate()
                .all(|(i, (port, &shape))| port.dtype == dtype(i) && port.shape == shape);
            if !(fits && same && p[0].shape[2] == (self.heads * FP8_HEAD_DIM).into()) {
                let expected = format!("bf16 operands of {} heads of {FP8_HEAD_DIM}", self.heads);
                return Err(Mismatch::new(expected, show_ports(p)));
            }
            Ok((DType::E4m3, p[0].shape.clone()))
        })
    }
}
