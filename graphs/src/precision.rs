//! Which numbers a graph computes with.

use crate::DType;

/// FP8 scales of one linear layer: real value = scale × E4M3 value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fp8Scales {
    /// Scale of the activations that enter the layer.
    pub input: f32,
    /// Scale of the weight, one for the whole tensor.
    pub weight: f32,
}

/// Says which linear layers run in FP8, by path (the checkpoint's tensor name less `.weight`).
pub trait Fp8Policy {
    /// Scales of the layer, or `None` where it stays bf16.
    fn scales(&self, path: &str) -> Option<Fp8Scales>;
}

/// Precision of a whole graph. One model definition serves all three.
#[derive(Clone, Copy)]
pub enum Precision<'p> {
    /// Everything in f32: CPU and reference.
    F32,
    /// bf16, with f32 islands (norm statistics, modulation, the time path).
    Bf16,
    /// bf16, and the linear layers that the policy names in FP8 through Q/DQ.
    Fp8(&'p dyn Fp8Policy),
}

impl Precision<'_> {
    /// Type of activations and of weights outside the f32 islands.
    pub fn compute(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 | Self::Fp8(_) => DType::Bf16,
        }
    }

    /// FP8 scales of the linear layer at `path`, if it runs in FP8.
    pub(crate) fn fp8(self, path: &str) -> Option<Fp8Scales> {
        match self {
            Self::Fp8(policy) => policy.scales(path),
            Self::F32 | Self::Bf16 => None,
        }
    }
}
