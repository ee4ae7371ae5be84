//! Made-up inputs of a submodule: any numbers of the right kind, the same ones for the same sizes.

use std::collections::BTreeMap;

use bernini_graphs::manifest::PortEntry;
use bernini_graphs::submodule::{planner_lm, text_encoder, transformer, vae, vision};
use ndarray::{ArrayD, IxDyn};
use rayon::prelude::*;

use crate::tensor::Tensor;

/// One tensor for every port of `contract`; `None` where a symbol has no size.
///
/// Hidden states and latents have mean 0 and variance 1; angles are angles, pixels pixels, indices
/// legal, and nothing is masked.
pub fn random(
    contract: &[PortEntry],
    sizes: &BTreeMap<String, usize>,
) -> Option<Vec<(String, Tensor)>> {
    let tensor = |(index, port): (usize, &PortEntry)| {
        let shape = port.sizes(sizes)?;
        let seed = (index as u64 + 1) << 40;
        let tensor = if port.dtype.is_float() {
            floats(&port.name, &shape, seed)
        } else {
            integers(&port.name, &shape, sizes)?
        };
        Some((port.name.clone(), tensor))
    };
    contract.iter().enumerate().map(tensor).collect()
}

fn floats(name: &str, shape: &[usize], seed: u64) -> Tensor {
    let angle = |i| std::f32::consts::TAU * uniform(seed, i);
    match name {
        planner_lm::BIAS | vision::WINDOW_BIAS => Tensor::zeros(shape),
        // Every port of rotary angles has one of these two names; both draw the same angles.
        transformer::ROPE_COS => fill(shape, |i| (std::f32::consts::TAU * uniform(0, i)).cos()),
        transformer::ROPE_SIN => fill(shape, |i| (std::f32::consts::TAU * uniform(0, i)).sin()),
        transformer::T_EMBED => fill(shape, |i| angle(i).sin()),
        vae::FRAMES => fill(shape, |i| 2.0 * uniform(seed, i) - 1.0),
        _ => fill(shape, |i| 12f32.sqrt() * (uniform(seed, i) - 0.5)),
    }
}

fn integers(name: &str, shape: &[usize], sizes: &BTreeMap<String, usize>) -> Option<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<i64> = match name {
        text_encoder::BUCKETS => (0..count).map(|i| i as i64 % 32).collect(),
        vision::WINDOW_GATHER => {
            let patches = 4 * sizes.get("frames")? * sizes.get("frame_tokens")?;
            (0..count).map(|i| (i % patches) as i64).collect()
        }
        _ => (0..count as i64).collect(),
    };
    Some(ArrayD::from_shape_vec(IxDyn(shape), values).ok()?.into())
}

fn fill(shape: &[usize], value: impl Fn(usize) -> f32 + Sync + Send) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).into_par_iter().map(value).collect();
    ArrayD::from_shape_vec(IxDyn(shape), values)
        .expect("invariant: as many values as elements")
        .into()
}

/// In 0..1, by the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn uniform(seed: u64, index: usize) -> f32 {
    let mut x = (seed + index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use bernini_graphs::DType;

    use super::*;

    fn one(name: &str, dtype: DType, shape: &[&str]) -> Tensor {
        let shape = shape.iter().map(|axis| axis.to_string()).collect();
        let sizes = [("n", 333), ("frames", 1), ("frame_tokens", 5)];
        let sizes = sizes.map(|(symbol, size)| (symbol.to_string(), size)).into();
        random(&[PortEntry { name: name.into(), dtype, shape }], &sizes).unwrap().remove(0).1
    }

    #[test]
    fn hidden_states_have_unit_variance_and_angles_are_angles() {
        let Tensor::F32(x) = one("embeds", DType::F32, &["1", "n", "100"]) else { panic!() };
        assert!(x.mean().unwrap().abs() < 0.02 && (x.std(0.0) - 1.0).abs() < 0.02);
        let [cos, sin] = ["rope_cos", "rope_sin"].map(|name| one(name, DType::F32, &["n", "7"]));
        let (Tensor::F32(cos), Tensor::F32(sin)) = (cos, sin) else { panic!() };
        assert!(cos.iter().zip(&sin).all(|(c, s)| (c * c + s * s - 1.0).abs() < 1e-5));
        assert_eq!(one("bias", DType::F32, &["1", "n"]), Tensor::zeros(&[1, 333]));
    }

    #[test]
    fn indices_are_legal() {
        let Tensor::I64(gather) = one("window_gather", DType::I64, &["n", "64"]) else { panic!() };
        assert!(gather.iter().all(|index| (0..20).contains(index)));
        let Tensor::I64(scatter) = one("window_scatter", DType::I64, &["20"]) else { panic!() };
        assert_eq!(scatter.iter().copied().collect::<Vec<_>>(), (0..20).collect::<Vec<i64>>());
    }

    #[test]
    fn a_symbol_without_a_size_gives_nothing() {
        let port = PortEntry { name: "x".into(), dtype: DType::F32, shape: vec!["tokens".into()] };
        assert!(random(&[port], &BTreeMap::new()).is_none());
    }
}
