//! Combines the forwards of a step into one velocity (spec G.3 to G.5).

mod branch;
mod mode;
mod projection;
mod schedule;

pub use branch::{Available, Branch, Context, SourceSet};
pub use mode::GuidanceMode;

use mode::{Chain, Omega, Projection};
use ndarray::{Array4, ArrayView4, Zip};
use projection::{Limits, Momentum, damping, normalise};
use rayon::prelude::*;
use schedule::Schedule;

/// Elements that are combined together, small enough for a core's cache.
const CHUNK: usize = 4096;

/// Why a guidance setting or a step was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum GuidanceError {
    #[error("guidance_mode {found:?} is unknown to the {model} model, which has {legal}{hint}")]
    UnknownMode { found: String, model: &'static str, legal: String, hint: &'static str },
    #[error("{field} is {found}, expected a finite number; check the guidance flags")]
    NotFinite { field: &'static str, found: f64 },
    #[error("guidance got {found} predictions, expected {expected}; run each of branches() once")]
    Predictions { expected: usize, found: usize },
    #[error(
        "a prediction has shape {found:?}, the latents {expected:?}; unpack tokens to [16,T,h,w]"
    )]
    Shape { expected: Vec<usize>, found: Vec<usize> },
}

/// Guidance weights (G.6); `tgt` belongs to the full model and is unused by G.5.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Omegas {
    pub vid: f64,
    pub img: f64,
    pub txt: f64,
    pub tgt: f64,
    /// Factor on the other four from the first low-noise step on.
    pub scale: f64,
}

/// Settings of the renderer-only `_apg` modes, which the full model ignores (G.4; `--eta`, `--norm_threshold`, `--momentum`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApgParams {
    /// Share kept of the part along the base prediction.
    pub eta: f64,
    /// Longest a frame of each term may be, first term first; 0 or less lifts the limit.
    pub norm_threshold: [f64; 3],
    /// Factor on the running sum of a term.
    pub momentum: f64,
}

impl Omegas {
    fn weight(&self, omega: Omega) -> f64 {
        match omega {
            Omega::Vid => self.vid,
            Omega::Img => self.img,
            Omega::Txt => self.txt,
            Omega::Tgt => self.tgt,
        }
    }
}

/// Guidance of one request: its forwards, its weights and its momentum.
pub struct Guidance {
    mode: GuidanceMode,
    available: Available,
    reference: bool,
    schedule: Schedule,
    omegas: Omegas,
    apg: ApgParams,
    momenta: Vec<Momentum>,
}

impl Guidance {
    /// Guidance of a request with the given sources.
    ///
    /// # Errors
    /// A weight or setting that is not finite.
    pub fn new(
        mode: GuidanceMode,
        available: Available,
        omegas: Omegas,
        apg: ApgParams,
    ) -> Result<Self, GuidanceError> {
        check_finite(&omegas, &apg)?;
        let chain = mode.chain();
        let schedule = Schedule::new(&chain, available, &omegas, false);
        let momenta = chain.links.iter().map(|_| Momentum::default()).collect();
        Ok(Self { mode, available, reference: false, schedule, omegas, apg, momenta })
    }

    /// Runs every forward of the official schedule, equal ones too, if `reference` is set.
    pub fn with_reference_schedule(mut self, reference: bool) -> Self {
        self.reference = reference;
        self.reschedule();
        self
    }

    /// The forwards that each step needs; `combine` takes predictions in this order. They change
    /// at the switch to low noise only where `scale` is 0 or less and terms collapse (G.4, K.10).
    pub fn branches(&self) -> &[Branch] {
        &self.schedule.branches
    }

    /// Multiplies every omega by `scale`: call once, before the first low-noise step, and ask for
    /// `branches` again.
    pub fn switch_to_low_noise(&mut self) {
        let Omegas { vid, img, txt, tgt, scale } = self.omegas;
        self.omegas = Omegas {
            vid: vid * scale,
            img: img * scale,
            txt: txt * scale,
            tgt: tgt * scale,
            scale: 1.0,
        };
        self.reschedule();
    }

    fn reschedule(&mut self) {
        let chain = self.mode.chain();
        self.schedule = Schedule::new(&chain, self.available, &self.omegas, self.reference);
    }

    /// The guided velocity `[16,T,h,w]` of one step.
    ///
    /// `predictions`: velocities f32 `[16,T,h,w]` in the order of `branches()`; `latents`: the noisy
    /// sample they were made from, same shape; `sigma`: its noise level, above 0.
    ///
    /// # Errors
    /// A wrong number of predictions, or one whose shape differs from the latents'.
    pub fn combine(
        &mut self,
        predictions: &[ArrayView4<f32>],
        latents: &ArrayView4<f32>,
        sigma: f32,
    ) -> Result<Array4<f32>, GuidanceError> {
        self.check(predictions, latents)?;
        match self.mode.chain().projection {
            Projection::Plain | Projection::Damped => Ok(self.combine_directly(predictions)),
            Projection::Normalised | Projection::NormalisedBy(_) => {
                Ok(self.combine_normalised(predictions, latents, sigma.into()))
            }
        }
    }

    /// base + Σ ω·(d − c·upper) with d = upper − lower, element by element; c is 0, or what damps d.
    fn combine_directly(&self, predictions: &[ArrayView4<f32>]) -> Array4<f32> {
        let layouts: Vec<_> = predictions.iter().map(|p| p.as_standard_layout()).collect();
        let places = self.schedule.places.iter();
        let chain: Vec<&[f32]> =
            places.map(|&i| layouts[i].as_slice().unwrap_or_default()).collect();
        let Chain { links, projection, .. } = self.mode.chain();
        let damped = projection == Projection::Damped;
        let terms = links.iter().zip(chain.windows(2)).map(|((omega, _), ends)| {
            let along = if damped { damping(ends[0], ends[1]) } else { 0.0 };
            (self.omegas.weight(*omega), along)
        });
        let terms: Vec<(f64, f64)> = terms.collect();
        let mut guided = Array4::zeros(predictions[0].raw_dim());
        let chunks = guided.as_slice_mut().unwrap_or_default().par_chunks_mut(CHUNK).enumerate();
        chunks.for_each(|(chunk, guided)| {
            let range = chunk * CHUNK..chunk * CHUNK + guided.len();
            let mut sum: Vec<f64> = chain[0][range.clone()].iter().map(|&v| v.into()).collect();
            for (ends, (weight, along)) in chain.windows(2).zip(&terms) {
                let ends = ends[0][range.clone()].iter().zip(&ends[1][range.clone()]);
                for (sum, (&lower, &upper)) in sum.iter_mut().zip(ends) {
                    let (lower, upper) = (f64::from(lower), f64::from(upper));
                    *sum += weight * ((upper - lower) - along * upper);
                }
            }
            guided.iter_mut().zip(sum).for_each(|(guided, sum)| *guided = sum as f32);
        });
        guided
    }

    /// base + Σ ω·N(upper − lower; base upper) on x0 predictions, as velocities; in f64, since
    /// x0 = x − σ·v loses small velocities.
    fn combine_normalised(
        &mut self,
        predictions: &[ArrayView4<f32>],
        latents: &ArrayView4<f32>,
        sigma: f64,
    ) -> Array4<f32> {
        let places = self.schedule.places.clone();
        let mut guided = predictions[places[0]].mapv(f64::from);
        for (term, (omega, _)) in self.mode.chain().links.iter().enumerate() {
            let [lower, upper] = [places[term], places[term + 1]].map(|i| &predictions[i]);
            let limits = match self.mode.chain().projection {
                Projection::NormalisedBy(limits) => limits,
                _ => self.limits(term),
            };
            let subtract = |u: &f32, l: &f32| (f64::from(*u) - f64::from(*l)) * -sigma;
            let difference = Zip::from(upper).and(lower).par_map_collect(subtract);
            let clean = |x: &f32, v: &f32| f64::from(*x) - sigma * f64::from(*v);
            let base = Zip::from(latents).and(upper).par_map_collect(clean);
            let step = normalise(difference, &base, limits, &mut self.momenta[term]);
            let weight = self.omegas.weight(*omega);
            let add = |guided: &mut f64, step: &f64| *guided += weight * (step / -sigma);
            Zip::from(&mut guided).and(&step).par_for_each(add);
        }
        guided.mapv(|v| v as f32)
    }

    fn limits(&self, term: usize) -> Limits {
        let ApgParams { eta, norm_threshold, momentum } = self.apg;
        Limits { eta, norm_threshold: norm_threshold[term], momentum }
    }

    fn check(
        &self,
        predictions: &[ArrayView4<f32>],
        latents: &ArrayView4<f32>,
    ) -> Result<(), GuidanceError> {
        let (expected, found) = (self.branches().len(), predictions.len());
        if expected != found {
            return Err(GuidanceError::Predictions { expected, found });
        }
        match predictions.iter().find(|prediction| prediction.shape() != latents.shape()) {
            Some(prediction) => Err(GuidanceError::Shape {
                expected: latents.shape().to_vec(),
                found: prediction.shape().to_vec(),
            }),
            None => Ok(()),
        }
    }
}

fn check_finite(omegas: &Omegas, apg: &ApgParams) -> Result<(), GuidanceError> {
    let [first, second, third] = apg.norm_threshold;
    let fields = [
        ("omega_vid", omegas.vid),
        ("omega_img", omegas.img),
        ("omega_txt", omegas.txt),
        ("omega_tgt", omegas.tgt),
        ("omega_scale", omegas.scale),
        ("eta", apg.eta),
        ("norm_threshold", first),
        ("norm_threshold", second),
        ("norm_threshold", third),
        ("momentum", apg.momentum),
    ];
    match fields.into_iter().find(|(_, found)| !found.is_finite()) {
        Some((field, found)) => Err(GuidanceError::NotFinite { field, found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
