//! Flow-matching schedulers of the renderer (spec G.1, G.2): x_σ = (1 − σ)·x0 + σ·noise, and the
//! model predicts the velocity noise − x0.

mod euler;
mod unipc;

use unipc::UniPc;

/// Timestep divided by 1000 at which the low-noise expert takes over (`boundary_ratio`, A.7).
pub const DEFAULT_BOUNDARY_RATIO: f64 = 0.875;

const TRAIN_TIMESTEPS: usize = 1000;

/// Why a schedule or a step was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SchedulerError {
    #[error("num_inference_steps is {found}, expected 1 to {TRAIN_TIMESTEPS}; choose another")]
    Steps { found: usize },
    #[error("flow_shift is {found}, expected a finite number above 0; the released value is 5")]
    FlowShift { found: f64 },
    #[error(
        "flow_shift {flow_shift} with {steps} steps has no room between noise levels {index} and \
         {}; use a flow_shift closer to 1 or fewer steps", index + 1
    )]
    Grid { steps: usize, flow_shift: f64, index: usize },
    #[error("step {found} was asked for, expected step {expected}; run every step once, in order")]
    Order { expected: usize, found: usize },
    #[error("step got {found} values, expected {expected}; pass velocity and sample of one size")]
    Length { expected: usize, found: usize },
}

/// The two samplers of the official command line (`--[no-]use_unipc`, H.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerKind {
    /// UniPC of order 2 (bh2, predicts x0), the default.
    UniPc,
    /// Plain Euler flow matching.
    Euler,
}

/// Noise levels, timesteps and the solver's state of one request.
pub struct Scheduler {
    sigmas: Vec<f32>,
    timesteps: Vec<f32>,
    solver: Solver,
    next_step: usize,
}

enum Solver {
    UniPc(UniPc),
    Euler,
}

impl Scheduler {
    /// A schedule of `steps` steps.
    ///
    /// # Errors
    /// `steps` outside 1..=1000, `flow_shift` that is not a finite number above 0, or one so
    /// extreme that neighbouring noise levels coincide in f32.
    pub fn new(kind: SchedulerKind, steps: usize, flow_shift: f64) -> Result<Self, SchedulerError> {
        if !(1..=TRAIN_TIMESTEPS).contains(&steps) {
            return Err(SchedulerError::Steps { found: steps });
        }
        if !(flow_shift.is_finite() && flow_shift > 0.0) {
            return Err(SchedulerError::FlowShift { found: flow_shift });
        }
        let (sigmas, timesteps, solver) = match kind {
            SchedulerKind::UniPc => {
                let (sigmas, timesteps) = unipc::grid(steps, flow_shift);
                (sigmas, timesteps, Solver::UniPc(UniPc::default()))
            }
            SchedulerKind::Euler => {
                let (sigmas, timesteps) = euler::grid(steps, flow_shift);
                (sigmas, timesteps, Solver::Euler)
            }
        };
        check_grid(kind, &sigmas, flow_shift)?;
        Ok(Self { sigmas, timesteps, solver, next_step: 0 })
    }

    /// What the DiT sees at each step: whole numbers with UniPC (G.1), fractions with Euler (K.10).
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// Noise level before step `i`; 0 for `i` = number of steps.
    pub fn sigma(&self, i: usize) -> f32 {
        self.sigmas[i]
    }

    /// Whether step `i` belongs to the high-noise expert (`transformer`).
    pub fn is_high_noise(&self, i: usize, boundary_ratio: f64) -> bool {
        f64::from(self.timesteps[i]) >= boundary_ratio * TRAIN_TIMESTEPS as f64
    }

    /// Replaces `sample` (noise level `sigma(i)`) by the sample at `sigma(i + 1)`, given the
    /// model's `velocity` on it; both f32 in the same order of elements.
    ///
    /// # Errors
    /// Steps out of order, or slices whose lengths differ from each other or from earlier steps.
    pub fn step(
        &mut self,
        i: usize,
        velocity: &[f32],
        sample: &mut [f32],
    ) -> Result<(), SchedulerError> {
        self.check_step(i, velocity.len(), sample.len())?;
        match &mut self.solver {
            Solver::UniPc(solver) => solver.step(&self.sigmas, i, velocity, sample),
            Solver::Euler => euler::step(&self.sigmas, i, velocity, sample),
        }
        self.next_step += 1;
        Ok(())
    }

    fn check_step(&self, i: usize, found: usize, sample: usize) -> Result<(), SchedulerError> {
        if i != self.next_step || i >= self.timesteps.len() {
            return Err(SchedulerError::Order { expected: self.next_step, found: i });
        }
        let expected = match &self.solver {
            Solver::UniPc(solver) => solver.len().unwrap_or(sample),
            Solver::Euler => sample,
        };
        match [found, sample].into_iter().find(|&length| length != expected) {
            Some(found) => Err(SchedulerError::Length { expected, found }),
            None => Ok(()),
        }
    }
}

/// UniPC divides by differences of ln((1 − σ) / σ): levels must be distinct and inside (0, 1).
fn check_grid(kind: SchedulerKind, sigmas: &[f32], flow_shift: f64) -> Result<(), SchedulerError> {
    let steps = sigmas.len() - 1;
    let touches_noise = kind == SchedulerKind::UniPc && sigmas[0] >= 1.0;
    let flat = sigmas.windows(2).position(|pair| pair[0] <= pair[1]);
    match flat.or(touches_noise.then_some(0)) {
        Some(index) => Err(SchedulerError::Grid { steps, flow_shift, index }),
        None => Ok(()),
    }
}

/// σ = s·u / (1 + (s − 1)·u).
fn shift(flow_shift: f64, u: f64) -> f64 {
    flow_shift * u / (1.0 + (flow_shift - 1.0) * u)
}

#[cfg(test)]
mod tests;
