//! Euler flow matching (spec G.2 last paragraph, K.10).

use super::{TRAIN_TIMESTEPS, shift};

/// Noise levels linspace(1, 0, M + 1) shifted, M + 1 values, and M fractional timesteps.
pub(super) fn grid(steps: usize, flow_shift: f64) -> (Vec<f32>, Vec<f32>) {
    let level = |i: usize| shift(flow_shift, (steps - i) as f64 / steps as f64) as f32;
    let sigmas: Vec<f32> = (0..=steps).map(level).collect();
    let timesteps = sigmas[..steps].iter().map(|sigma| sigma * TRAIN_TIMESTEPS as f32).collect();
    (sigmas, timesteps)
}

/// x ← x + v·(σ_next − σ).
pub(super) fn step(sigmas: &[f32], i: usize, velocity: &[f32], sample: &mut [f32]) {
    let delta = sigmas[i + 1] - sigmas[i];
    for (x, v) in sample.iter_mut().zip(velocity) {
        *x += v * delta;
    }
}
