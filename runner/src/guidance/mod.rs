//! Combines the forwards of a step into one velocity (spec G.3, G.5).

mod mode;
mod projection;

pub use mode::{Available, Branch, Context, GuidanceMode, SourceSet};

use mode::{Omega, Projection};
use ndarray::{Array4, ArrayView4, Zip};
use projection::{Limits, Momentum, normalise};

/// Why a guidance setting or a step was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum GuidanceError {
    #[error("unknown guidance_mode {found:?}; the renderer-only pipeline has {legal}")]
    UnknownMode { found: String, legal: String },
    #[error("{field} is {found}, expected a finite number; check the guidance flags")]
    NotFinite { field: &'static str, found: f64 },
    #[error("guidance got {found} predictions, expected {expected}; run each of branches() once")]
    Predictions { expected: usize, found: usize },
    #[error(
        "a prediction has shape {found:?}, the latents {expected:?}; unpack tokens to [16,T,h,w]"
    )]
    Shape { expected: Vec<usize>, found: Vec<usize> },
}

/// Guidance weights (G.6); `tgt` belongs to the full pipeline and is unused by G.5.
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

/// Settings of the `_apg` modes (`--eta`, `--norm_threshold`, `--momentum`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApgParams {
    /// Share kept of the part along the base prediction.
    pub eta: f64,
    /// Longest a frame of each term may be, first term first; 0 or less lifts the limit.
    pub norm_threshold: [f64; 3],
    /// Factor on the running sum of a term.
    pub momentum: f64,
}

/// Guidance of one request: its forwards, its weights and its momentum.
pub struct Guidance {
    mode: GuidanceMode,
    branches: Vec<Branch>,
    /// For each place in the mode's chain, the index of its branch.
    places: Vec<usize>,
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
        let branches = mode.branches(available);
        let index = |wanted: Branch| branches.iter().position(|&branch| branch == wanted);
        let places: Vec<usize> =
            mode.chain_branches(available).into_iter().filter_map(index).collect();
        let momenta = places.iter().skip(1).map(|_| Momentum::default()).collect();
        Ok(Self { mode, branches, places, omegas, apg, momenta })
    }

    /// The forwards that each step needs, none twice; `combine` takes predictions in this order.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Multiplies every omega by `scale`: call once, before the first low-noise step.
    pub fn switch_to_low_noise(&mut self) {
        let Omegas { vid, img, txt, tgt, scale } = self.omegas;
        self.omegas = Omegas {
            vid: vid * scale,
            img: img * scale,
            txt: txt * scale,
            tgt: tgt * scale,
            scale: 1.0,
        };
    }

    /// The guided velocity [16,T,h,w] of one step.
    ///
    /// `predictions`: velocities f32 [16,T,h,w] in the order of `branches()`; `latents`: the noisy
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
        Ok(match self.mode.chain().projection {
            Projection::Plain => self.combine_velocities(predictions),
            Projection::Normalised => self.combine_clean(predictions, latents, sigma),
        })
    }

    fn combine_velocities(&self, predictions: &[ArrayView4<f32>]) -> Array4<f32> {
        let mut guided = predictions[self.places[0]].to_owned();
        for (term, places) in self.places.windows(2).enumerate() {
            let omega = self.omega(term) as f32;
            Zip::from(&mut guided)
                .and(predictions[places[1]])
                .and(predictions[places[0]])
                .for_each(|guided, upper, lower| *guided += omega * (upper - lower));
        }
        guided
    }

    /// The same sum over x0 = x − σ·v with normalised terms, turned back into a velocity.
    fn combine_clean(
        &mut self,
        predictions: &[ArrayView4<f32>],
        x: &ArrayView4<f32>,
        sigma: f32,
    ) -> Array4<f32> {
        let clean = |v: &ArrayView4<f32>| Zip::from(x).and(v).map_collect(|x, v| x - sigma * v);
        let clean: Vec<Array4<f32>> = predictions.iter().map(clean).collect();
        let mut guided = clean[self.places[0]].mapv(f64::from);
        for term in 0..self.momenta.len() {
            let (lower, upper) = (&clean[self.places[term]], &clean[self.places[term + 1]]);
            let difference = (upper - lower).mapv(f64::from);
            let limits = self.limits(term);
            let step = normalise(difference, &upper.view(), limits, &mut self.momenta[term]);
            guided.scaled_add(self.omega(term), &step);
        }
        let velocity = |x: &f32, guided: &f64| ((f64::from(*x) - guided) / f64::from(sigma)) as f32;
        Zip::from(x).and(&guided).map_collect(velocity)
    }

    fn omega(&self, term: usize) -> f64 {
        match self.mode.chain().links[term].0 {
            Omega::Vid => self.omegas.vid,
            Omega::Img => self.omegas.img,
            Omega::Txt => self.omegas.txt,
        }
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
        let (expected, found) = (self.branches.len(), predictions.len());
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
