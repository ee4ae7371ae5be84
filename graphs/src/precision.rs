//! Which numbers a graph computes with.

use half::bf16;

use crate::DType;

/// FP8 scales of one linear layer: real value = scale × E4M3 value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fp8Scales {
    /// Scale of the activations that enter the layer.
    pub input: f32,
    /// Scale of the weight, one for the whole tensor.
    pub weight: f32,
}

/// FP8 scales of one attention: real value = scale × E4M3 value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fp8AttentionScales {
    /// Of the queries after norm and rotation.
    pub q: f32,
    /// Of the keys after norm and rotation.
    pub k: f32,
    /// Of the values.
    pub v: f32,
    /// Of what enters the output projection.
    pub out: f32,
    /// Whether the mean over tokens of every channel is subtracted from the keys before they are
    /// rounded. Self attention only: cached keys are taken as they are.
    pub center_keys: bool,
}

/// Says what runs in FP8, by path (the checkpoint's tensor name less `.weight`).
pub trait Fp8Policy {
    /// Scales of the linear layer at `path`, or `None` where it stays bf16.
    fn scales(&self, path: &str) -> Option<Fp8Scales>;

    /// Scales of the attention at `path`, such as `blocks.3.attn1`, or `None` where its products
    /// stay bf16.
    fn attention(&self, path: &str) -> Option<Fp8AttentionScales>;
}

/// Precision of a whole graph. One model definition serves all four.
#[derive(Clone, Copy)]
pub enum Precision<'p> {
    /// Everything in f32: CPU and reference.
    F32,
    /// bf16, with f32 islands (norm statistics, modulation, the time path).
    Bf16,
    /// bf16, and what the policy names in FP8: linear layers through Q/DQ, attention as one node
    /// of ours.
    Fp8(&'p dyn Fp8Policy),
    /// f32, and what the policy names on FP8 values: the CPU's stand-in for `Fp8`. Attention is
    /// lowered to primitives that round where the node does.
    Fp8F32(&'p dyn Fp8Policy),
}

impl<'p> Precision<'p> {
    /// Type of activations and of weights outside the f32 islands.
    pub fn compute(self) -> DType {
        match self {
            Self::F32 | Self::Fp8F32(_) => DType::F32,
            Self::Bf16 | Self::Fp8(_) => DType::Bf16,
        }
    }

    fn policy(self) -> Option<&'p dyn Fp8Policy> {
        match self {
            Self::Fp8(policy) | Self::Fp8F32(policy) => Some(policy),
            Self::F32 | Self::Bf16 => None,
        }
    }

    /// FP8 scales of the linear layer at `path`, if it runs in FP8.
    ///
    /// Both are as bf16 rounds them, which is how engines hold them: stored weights and the CPU's
    /// stand-in then know the one rounding.
    pub(crate) fn linear(self, path: &str) -> Option<Fp8Scales> {
        let Fp8Scales { input, weight } = self.policy()?.scales(path)?;
        Some(Fp8Scales { input: as_bf16(input), weight: as_bf16(weight) })
    }

    /// FP8 scales of the attention at `path`, if it runs in FP8; `out` as bf16 rounds it.
    pub(crate) fn attention(self, path: &str) -> Option<Fp8AttentionScales> {
        let scales = self.policy()?.attention(path)?;
        Some(Fp8AttentionScales { out: as_bf16(scales.out), ..scales })
    }
}

fn as_bf16(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}
