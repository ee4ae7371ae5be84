//! How far is too far.

use bernini_graphs::manifest::PrecisionName;
use serde::Serialize;

/// What a comparison may reach, by the coarser precision of the two folders.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// Largest relative L2 of an output, and of the guided velocity of a step.
    pub rel_l2: f64,
    /// Smallest PSNR of a frame in dB, where both runs go their own way.
    pub psnr: f64,
    /// Why these.
    pub reason: &'static str,
}

/// Limits of a pair; `rel_l2` replaces the table's own.
pub fn limits(a: PrecisionName, b: PrecisionName, rel_l2: Option<f64>) -> Limit {
    let of = |precision| match precision {
        PrecisionName::F32 => Limit {
            rel_l2: 1e-4,
            psnr: 40.0,
            reason: "f32: the same sums in another order, 2^-24 each, through hundreds of layers",
        },
        PrecisionName::Bf16 => Limit {
            rel_l2: 2e-2,
            psnr: 25.0,
            reason: "bf16: each value rounded by up to 2^-9, some dozen roundings a layer that add \
                     up like a random walk",
        },
        PrecisionName::Fp8 | PrecisionName::Fp8F32 => Limit {
            rel_l2: 6e-2,
            psnr: 20.0,
            reason: "FP8: E4M3 rounds by up to 2^-4; 6 % at the output of a step is the budget",
        },
    };
    let (a, b) = (of(a), of(b));
    let limit = if a.rel_l2 > b.rel_l2 { a } else { b };
    match rel_l2 {
        Some(rel_l2) => Limit { rel_l2, ..limit },
        None => limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarser_precision_decides_in_either_order() {
        use PrecisionName::{Bf16, F32, Fp8, Fp8F32};
        for (a, b, expected) in [
            (F32, F32, 1e-4),
            (F32, Bf16, 2e-2),
            (Bf16, F32, 2e-2),
            (Fp8, Bf16, 6e-2),
            (F32, Fp8F32, 6e-2),
        ] {
            assert_eq!(limits(a, b, None).rel_l2, expected);
        }
        let given = limits(F32, Fp8, Some(0.5));
        assert_eq!((given.rel_l2, given.psnr), (0.5, 20.0));
    }
}
