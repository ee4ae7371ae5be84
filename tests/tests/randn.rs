//! The runner's noise against torch 2.7.1's CPU generator: every bit (spec K.14).

#![allow(clippy::unwrap_used)]

use bernini_runner::noise::TorchRng;
use safetensors::SafeTensors;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/");

fn f32s(tensors: &SafeTensors, name: &str) -> Vec<f32> {
    let (words, _) = tensors.tensor(name).unwrap().data().as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn assert_same_bits(found: &[f32], expected: &[f32], name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "{name}[{i}]: {found} {expected}");
    }
}

#[test]
fn randn_gives_the_bits_of_torch() {
    let bytes = std::fs::read(format!("{FOLDER}randn.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for seed in [0u64, 42, (1 << 31) + 7, 12_345_678_901] {
        for size in [1, 5, 15, 16, 17, 31, 33, 1000] {
            let name = format!("seed_{seed}_size_{size}");
            assert_same_bits(&TorchRng::new(seed).randn(size), &f32s(&tensors, &name), &name);
        }
        let name = format!("seed_{seed}_sequence");
        let mut rng = TorchRng::new(seed);
        let found = [5, 17, 3, 16, 1, 40, 2].map(|size| rng.randn(size)).concat();
        assert_same_bits(&found, &f32s(&tensors, &name), &name);
    }
}
