//! UniPC of order 2 (bh2, predicts x0; spec G.1, G.2), as diffusers 0.35.2 computes it.
//! f32 throughout: the reference keeps its scalars in float32 tensors too.

use rayon::prelude::*;

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

/// Elements that are updated together, small enough for a core's cache.
const CHUNK: usize = 4096;

/// What one step leaves for the next; empty before the first.
#[derive(Default)]
pub(super) struct UniPc {
    last_sample: Vec<f32>,
    /// x0 prediction of the last step.
    newest: Vec<f32>,
    /// x0 prediction of the step before.
    older: Vec<f32>,
    order: usize,
}

impl UniPc {
    /// Number of elements of the running request; None before its first step.
    pub(super) fn len(&self) -> Option<usize> {
        (self.order > 0).then_some(self.last_sample.len())
    }

    /// Corrects the sample with the new prediction, then predicts the next one.
    pub(super) fn step(&mut self, sigmas: &[f32], i: usize, velocity: &[f32], x: &mut [f32]) {
        let Self { last_sample, newest, older, order } = self;
        let corrector = (*order > 0).then(|| Corrector::new(sigmas, i, *order));
        *order = 2.min(sigmas.len() - 1 - i).min(i + 1);
        let predictor = Predictor::new(sigmas, i, *order);
        for state in [&mut *last_sample, newest, older] {
            state.resize(x.len(), 0.0);
        }
        let states = last_sample.par_chunks_mut(CHUNK).zip(newest.par_chunks_mut(CHUNK));
        let states = states.zip(older.par_chunks_mut(CHUNK));
        let samples = x.par_chunks_mut(CHUNK).zip(velocity.par_chunks(CHUNK));
        samples.zip(states).for_each(|((x, velocity), ((last, newest), older))| {
            let m: Vec<f32> = x.iter().zip(velocity).map(|(x, v)| x - sigmas[i] * v).collect();
            if let Some(corrector) = &corrector {
                corrector.correct(last, &m, newest, older, x);
            }
            older.copy_from_slice(newest);
            newest.copy_from_slice(&m);
            last.copy_from_slice(x);
            predictor.predict(newest, older, x);
        });
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

/// From the corrected sample to the next one.
struct Predictor {
    update: Update,
    /// Where the older prediction lies; order 1 does without.
    r: Option<f32>,
}

impl Predictor {
    fn new(sigmas: &[f32], i: usize, order: usize) -> Self {
        let update = Update::new(sigmas[i], sigmas[i + 1]);
        let r = (order > 1).then(|| update.position(sigmas[i - 1]));
        Self { update, r }
    }

    fn predict(&self, newest: &[f32], older: &[f32], x: &mut [f32]) {
        let update = &self.update;
        let Some(r) = self.r else {
            x.iter_mut().zip(newest).for_each(|(x, &m0)| *x = update.apply(*x, m0, 0.0));
            return;
        };
        for ((x, &m0), m1) in x.iter_mut().zip(newest).zip(older) {
            *x = update.apply(*x, m0, 0.5 * ((m1 - m0) / r));
        }
    }
}

/// Repeats the last update with the prediction made from its result.
struct Corrector {
    update: Update,
    /// Where the older prediction lies and the weights; order 1 does without.
    second: Option<(f32, f32, f32)>,
}

impl Corrector {
    fn new(sigmas: &[f32], i: usize, order: usize) -> Self {
        let update = Update::new(sigmas[i - 1], sigmas[i]);
        let second = (order > 1).then(|| {
            let r = update.position(sigmas[i - 2]);
            let (a, b) = corrector_weights(&update, r);
            (r, a, b)
        });
        Self { update, second }
    }

    /// Replaces `x`; `m` is the prediction made from the uncorrected sample.
    fn correct(&self, last: &[f32], m: &[f32], newest: &[f32], older: &[f32], x: &mut [f32]) {
        let update = &self.update;
        let inputs = last.iter().zip(m).zip(newest);
        let Some((r, a, b)) = self.second else {
            for (x, ((&last, m), &m0)) in x.iter_mut().zip(inputs) {
                *x = update.apply(last, m0, 0.5 * (m - m0));
            }
            return;
        };
        for ((x, ((&last, m), &m0)), m1) in x.iter_mut().zip(inputs).zip(older) {
            *x = update.apply(last, m0, a * ((m1 - m0) / r) + b * (m - m0));
        }
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
