//! What one tensor met over all runs.

use std::collections::BTreeMap;

use bernini_calibration::{Method, Sums};
use bernini_graphs::taps::edges;

/// Smallest amax in a table: a layer that met zeros only needs a scale above 0, too.
const SMALLEST: f32 = 1e-6;

/// An activation: what enters a linear layer, or the queries, keys or values of an attention.
#[derive(Clone, Debug, Default)]
pub struct Met {
    /// Largest magnitudes by channel.
    pub amax: Vec<f32>,
    /// The same of all channels by guidance branch, where it is met in one.
    pub branches: BTreeMap<String, f32>,
    /// Sums over all values, where the graph makes them.
    pub sums: Option<Sums>,
}

impl Met {
    /// Adds what one more run met.
    pub fn add(&mut self, run: Self) {
        keep_largest(&mut self.amax, run.amax);
        for (branch, met) in run.branches {
            let largest = self.branches.entry(branch).or_default();
            *largest = larger(*largest, met);
        }
        match (&mut self.sums, run.sums) {
            (Some(sums), Some(run)) => {
                add(&mut sums.above, &run.above);
                add(&mut sums.errors, &run.errors);
            }
            (sums, run) => *sums = sums.take().or(run),
        }
    }

    /// The magnitude that its scale is made from; `None` where `method` lacks what it chooses from.
    pub fn choose(&self, method: Method) -> Option<f32> {
        let amax = largest(&self.amax);
        match (&self.sums, method) {
            (_, Method::Amax) => Some(amax),
            (Some(sums), _) => Some(method.choose(amax, sums, &edges()).max(SMALLEST)),
            (None, _) => None,
        }
    }
}

fn add(all: &mut [f64], run: &[f64]) {
    all.iter_mut().zip(run).for_each(|(all, run)| *all += run);
}

/// Replaces each of `all`, if there are any, by the one of `run` where that is larger.
pub fn keep_largest(all: &mut Vec<f32>, run: Vec<f32>) {
    if all.is_empty() {
        *all = run;
        return;
    }
    all.iter_mut().zip(run).for_each(|(largest, met)| *largest = larger(*largest, met));
}

/// The largest of all channels, if not too small for a scale.
pub fn largest(channels: &[f32]) -> f32 {
    channels.iter().copied().fold(SMALLEST, larger)
}

/// The larger one; NaN where either is, unlike [`f32::max`], which would hide it.
pub fn larger(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}
