//! Both schedulers against diffusers 0.35.2: grids, and the state after every step of runs over
//! 1 to 50 steps whose model is v = v_i + 0.3·x.

#![allow(clippy::unwrap_used)]

use bernini_runner::scheduler::{Scheduler, SchedulerKind};
use safetensors::SafeTensors;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/");
const SIZE: usize = 64;
const STEPS: [usize; 6] = [1, 2, 6, 7, 40, 50];

/// The value rule of tests/reference/values.py, mean 0 and standard deviation 1.
fn values(name: &str) -> Vec<f32> {
    let fnv = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let value = |i: u64| {
        let mut bits = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let total: u64 = [0, 16, 32, 48].iter().map(|shift| (bits >> shift) & 0xffff).sum();
        ((total as f64 - 131_070.0) / 37_837.0) as f32
    };
    (1..=SIZE as u64).map(value).collect()
}

fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    (error / expected.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

fn largest_error(kind: SchedulerKind, name: &str) -> f64 {
    let bytes = std::fs::read(format!("{FOLDER}unipc.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut largest = 0.0f64;
    for steps in STEPS {
        let (words, _) =
            tensors.tensor(&format!("{name}_{steps}")).unwrap().data().as_chunks::<4>();
        let expected: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let mut scheduler = Scheduler::new(kind, steps, 5.0).unwrap();
        let mut x = values("input:x");
        for (i, expected) in expected.chunks_exact(SIZE).enumerate() {
            let v = values(&format!("input:v{i}"));
            let velocity: Vec<f32> = v.iter().zip(&x).map(|(v, x)| v + 0.3 * x).collect();
            scheduler.step(i, &velocity, &mut x).unwrap();
            largest = largest.max(relative_l2(&x, expected));
        }
        assert_eq!(expected.len(), steps * SIZE);
    }
    largest
}

#[test]
fn unipc_follows_diffusers() {
    assert!(largest_error(SchedulerKind::UniPc, "unipc") < 3e-6);
}

#[test]
fn euler_follows_the_reference() {
    assert!(largest_error(SchedulerKind::Euler, "euler") < 1e-6);
}

#[test]
fn grids_are_those_of_the_reference() {
    let text = std::fs::read_to_string(format!("{FOLDER}unipc.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    for steps in STEPS {
        let grid = &golden["grids"][steps.to_string()];
        let list = |name: &str| -> Vec<f32> { serde_json::from_value(grid[name].clone()).unwrap() };
        let unipc = Scheduler::new(SchedulerKind::UniPc, steps, 5.0).unwrap();
        let euler = Scheduler::new(SchedulerKind::Euler, steps, 5.0).unwrap();
        assert_eq!(unipc.timesteps(), list("timesteps"));
        assert_eq!(euler.timesteps(), list("euler_timesteps"));
        let sigmas = |s: &Scheduler| -> Vec<f32> { (0..=steps).map(|i| s.sigma(i)).collect() };
        assert_eq!(sigmas(&unipc), list("sigmas"));
        assert_eq!(sigmas(&euler), list("euler_sigmas"));
    }
}
