//! UniPC of order 2 (bh2, predicts x0; spec G.1, G.2), as diffusers 0.35.2 computes it.
//! f32 throughout: the reference keeps its scalars in float32 tensors too.

use super::{TRAIN_TIMESTEPS, shift};

/// Noise levels (M + 1 values, the last 0) and timesteps cut to whole numbers (M values).
pub(super) fn grid(steps: usize, flow_shift: f64) -> (Vec<f32>, Vec<f32>) {
    // Same roundings as 1 − numpy.linspace(1, 1/1000, M + 1): timesteps are truncated.
    let last = 1.0 / TRAIN_TIMESTEPS as f64;
    let delta = (last - 1.0) / steps as f64;
    let alpha = |k: usize| if k == steps { last } else { k as f64 * delta + 1.0 };
    let levels: Vec<f64> = (1..=steps).rev().map(|k| shift(flow_shift, 1.0 - alpha(k))).collect();
    let timesteps = levels.iter().map(|s| (s * TRAIN_TIMESTEPS as f64).trunc() as f32).collect();
    let sigmas = levels.iter().map(|&sigma| sigma as f32).chain([0.0]).collect();
    (sigmas, timesteps)
}

/// What one step leaves for the next.
#[derive(Default)]
pub(super) struct UniPc {
    last_sample: Option<Vec<f32>>,
    /// x0 predictions, newest first.
    predictions: Vec<Vec<f32>>,
    order: usize,
}

impl UniPc {
    /// Number of elements of the running request; None before its first step.
    pub(super) fn len(&self) -> Option<usize> {
        self.last_sample.as_ref().map(Vec::len)
    }

    /// Corrects the sample with the new prediction, then predicts the next one.
    pub(super) fn step(&mut self, sigmas: &[f32], i: usize, velocity: &[f32], x: &mut [f32]) {
        let m: Vec<f32> = x.iter().zip(velocity).map(|(x, v)| x - sigmas[i] * v).collect();
        if let Some(last_sample) = &self.last_sample {
            correct(sigmas, i, self.order, last_sample, &m, &self.predictions, x);
        }
        let steps = sigmas.len() - 1;
        self.order = 2.min(steps - i).min(i + 1);
        self.predictions.insert(0, m);
        self.predictions.truncate(2);
        self.last_sample = Some(x.to_vec());
        predict(sigmas, i, self.order, &self.predictions, x);
    }
}

/// Scalars of an update from noise level `from` to noise level `to`.
struct Update {
    ratio: f32,
    alpha: f32,
    /// hh = −h, with h the growth of λ.
    hh: f32,
    /// expm1(hh): both E and B of the specification.
    e: f32,
    lambda_from: f32,
}

impl Update {
    fn new(from: f32, to: f32) -> Self {
        let hh = lambda(from) - lambda(to);
        Self { ratio: to / from, alpha: 1.0 - to, hh, e: hh.exp_m1(), lambda_from: lambda(from) }
    }

    /// r: where an older noise level lies, in units of h.
    fn position(&self, older: f32) -> f32 {
        (lambda(older) - self.lambda_from) / -self.hh
    }

    /// ratio·x − alpha·E·m0 − alpha·B·residual.
    fn apply(&self, x: f32, m0: f32, residual: f32) -> f32 {
        self.ratio * x - self.alpha * self.e * m0 - self.alpha * self.e * residual
    }
}

/// λ = ln(1 − σ) − ln σ; infinite at σ = 0.
fn lambda(sigma: f32) -> f32 {
    (1.0 - sigma).ln() - sigma.ln()
}

/// x_next from the corrected sample; `predictions` newest first.
fn predict(sigmas: &[f32], i: usize, order: usize, predictions: &[Vec<f32>], x: &mut [f32]) {
    let update = Update::new(sigmas[i], sigmas[i + 1]);
    let m0 = &predictions[0];
    if order == 1 {
        x.iter_mut().zip(m0).for_each(|(x, &m0)| *x = update.apply(*x, m0, 0.0));
        return;
    }
    let r = update.position(sigmas[i - 1]);
    for ((x, &m0), m1) in x.iter_mut().zip(m0).zip(&predictions[1]) {
        *x = update.apply(*x, m0, 0.5 * ((m1 - m0) / r));
    }
}

/// Replaces `x` by the corrected sample; `m` is the prediction made from the uncorrected one.
fn correct(
    sigmas: &[f32],
    i: usize,
    order: usize,
    last_sample: &[f32],
    m: &[f32],
    predictions: &[Vec<f32>],
    x: &mut [f32],
) {
    let update = Update::new(sigmas[i - 1], sigmas[i]);
    let inputs = last_sample.iter().zip(m).zip(&predictions[0]);
    if order == 1 {
        for (x, ((&last, m), &m0)) in x.iter_mut().zip(inputs) {
            *x = update.apply(last, m0, 0.5 * (m - m0));
        }
        return;
    }
    let r = update.position(sigmas[i - 2]);
    let (a, b) = corrector_weights(&update, r);
    for ((x, ((&last, m), &m0)), m1) in x.iter_mut().zip(inputs).zip(&predictions[1]) {
        *x = update.apply(last, m0, a * ((m1 - m0) / r) + b * (m - m0));
    }
}

/// Solves [[1, 1], [r, 1]]·[a, b] = [b1, b2].
fn corrector_weights(update: &Update, r: f32) -> (f32, f32) {
    let phi1 = update.e / update.hh - 1.0;
    let phi2 = phi1 / update.hh - 0.5;
    let (b1, b2) = (phi1 / update.e, phi2 * 2.0 / update.e);
    let b = (b2 - r * b1) / (1.0 - r);
    (b1 - b, b)
}
