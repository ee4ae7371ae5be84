//! The flow head's sampler (spec D.9, K.1): noise levels, guidance, Euler steps.

use half::bf16;
use ndarray::Array2;

use super::stream::Branch;

/// Lowest noise level of the unshifted schedule.
const SIGMA_MIN: f64 = 0.003 / 1.002;
const TRAIN_STEPS: f32 = 1000.0;
/// Periods of the sinusoid reach up to 2π times this.
const MAX_PERIOD: f64 = 10_000.0;

/// One Euler step of the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowStep {
    /// Time that the network sees: 1000·sigma, rounded to bf16.
    pub t: f32,
    /// Noise level before the step.
    pub sigma: f32,
    /// Noise level after it.
    pub next_sigma: f32,
}

impl FlowStep {
    /// What the velocity is multiplied by: x ← x + v·(next_sigma − sigma).
    pub fn size(&self) -> f32 {
        self.next_sigma - self.sigma
    }
}

/// The steps of one draw from the head.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSchedule {
    steps: Vec<FlowStep>,
}

impl FlowSchedule {
    /// `n` steps (`vit_denoising_step`), shifted towards noise by `shift` (2 in the release).
    pub fn new(n: usize, shift: f32) -> Self {
        let sigma = |i: usize| {
            if i == n {
                return 0.0;
            }
            let plain = (1.0 - (1.0 - SIGMA_MIN) * i as f64 / n as f64) as f32;
            shift * plain / (1.0 + (shift - 1.0) * plain)
        };
        let step = |i| {
            let (sigma, next_sigma) = (sigma(i), sigma(i + 1));
            FlowStep { t: bf16::from_f32(TRAIN_STEPS * sigma).to_f32(), sigma, next_sigma }
        };
        Self { steps: (0..n).map(step).collect() }
    }

    /// The steps in order.
    pub fn steps(&self) -> &[FlowStep] {
        &self.steps
    }
}

/// `[times, dim]`: cosines, then sines, of t·10000^(−k/half), computed in f64.
pub fn sinusoids(times: &[f32], dim: usize) -> Array2<f32> {
    let half = dim / 2;
    let angle = |t, k: usize| f64::from(t) * MAX_PERIOD.powf(-(k as f64) / half as f64);
    let value = |t, i| if i < half { angle(t, i).cos() } else { angle(t, i - half).sin() };
    Array2::from_shape_fn((times.len(), dim), |(row, i)| value(times[row], i) as f32)
}

/// How the head's velocities of several branches become one: a chain in which each branch is
/// pushed away from the one before it,
/// v = v₀ + w₁·(v₁ − v₀) + w₂·(v₂ − v₁).
#[derive(Clone, Debug, PartialEq)]
pub struct HeadGuidance {
    /// Branches to run, least conditioned first.
    pub branches: Vec<Branch>,
    /// Weight of every branch but the first.
    pub weights: Vec<f32>,
}

/// The chain of `vit_txt_cfg` and `vit_img_cfg` (spec D.9, K.1, design §6.2).
///
/// `has_sources` tells whether cond and imgcond differ. Links that change nothing are left out,
/// exactly: a first weight of 1, and a branch equal to the one before it. With
/// `reference_schedule` they stay.
pub fn guidance_chain(
    vit_txt_cfg: f32,
    vit_img_cfg: Option<f32>,
    has_sources: bool,
    reference_schedule: bool,
) -> HeadGuidance {
    use Branch::{Cond, ImgCond, Uncond};
    let (mut branches, mut weights) = match vit_img_cfg {
        _ if vit_txt_cfg <= 1.0 => (vec![Cond], vec![]),
        None => (vec![Uncond, Cond], vec![vit_txt_cfg]),
        Some(img) => (vec![Uncond, ImgCond, Cond], vec![img, vit_txt_cfg]),
    };
    if !reference_schedule {
        if branches.len() == 3 && !has_sources {
            branches.remove(1);
            weights.pop();
        }
        if weights.first() == Some(&1.0) {
            branches.remove(0);
            weights.remove(0);
        }
    }
    HeadGuidance { branches, weights }
}

impl HeadGuidance {
    /// The factor of a branch's velocity, by its place in `branches`, when the chain is sorted by
    /// branch: v = Σ (wᵢ − wᵢ₊₁)·vᵢ, where w₀ is 1 and nothing comes after the last.
    pub fn share(&self, branch: usize) -> f32 {
        let own = if branch == 0 { 1.0 } else { self.weights[branch - 1] };
        own - self.weights.get(branch).unwrap_or(&0.0)
    }
}

#[cfg(test)]
mod tests {
    use Branch::{Cond, ImgCond, Uncond};

    use super::*;

    #[test]
    fn five_steps_are_those_of_the_specification() {
        let schedule = FlowSchedule::new(5, 2.0);
        let expected = [1.0, 0.889_258, 0.750_935, 0.573_259, 0.336_653, 0.0];
        for (step, pair) in schedule.steps().iter().zip(expected.windows(2)) {
            assert!((step.sigma - pair[0]).abs() < 1e-6, "{step:?}");
            assert!((step.next_sigma - pair[1]).abs() < 1e-6, "{step:?}");
        }
        let times: Vec<f32> = schedule.steps().iter().map(|step| step.t).collect();
        assert_eq!(times, [1000.0, 888.0, 752.0, 572.0, 336.0]);
    }

    #[test]
    fn one_step_goes_from_noise_to_the_end() {
        let [step] = FlowSchedule::new(1, 2.0).steps()[..] else { panic!("one step") };
        assert_eq!(step, FlowStep { t: 1000.0, sigma: 1.0, next_sigma: 0.0 });
        assert_eq!(step.size(), -1.0);
        assert!(FlowSchedule::new(0, 2.0).steps().is_empty());
    }

    #[test]
    fn cosines_come_first() {
        let found = sinusoids(&[2.0], 6);
        for (k, angle) in [2.0, 0.092_831_78, 0.004_308_869].into_iter().enumerate() {
            assert!((found[[0, k]] - f32::cos(angle)).abs() < 1e-6);
            assert!((found[[0, k + 3]] - f32::sin(angle)).abs() < 1e-6);
        }
    }

    #[test]
    fn links_that_change_nothing_are_left_out() {
        let branches = |txt, img, sources| guidance_chain(txt, img, sources, false).branches;
        assert_eq!(branches(1.2, Some(1.0), true), [ImgCond, Cond]);
        assert_eq!(branches(1.2, Some(1.0), false), [Cond]);
        assert_eq!(branches(1.2, Some(1.5), true), [Uncond, ImgCond, Cond]);
        assert_eq!(branches(1.2, Some(1.5), false), [Uncond, Cond]);
        assert_eq!(branches(1.2, None, true), [Uncond, Cond]);
        assert_eq!(branches(1.0, Some(3.0), true), [Cond]);
        let reference = guidance_chain(1.2, Some(1.0), false, true);
        assert_eq!(reference.branches, [Uncond, ImgCond, Cond]);
    }

    #[test]
    fn shares_are_those_of_the_chain() {
        let guidance = guidance_chain(4.0, Some(1.5), true, false);
        let (u, ic, c) = (3.0, -1.0, 0.5);
        let chain = u + 1.5 * (ic - u) + 4.0 * (c - ic);
        let sum: f32 = [u, ic, c].iter().enumerate().map(|(i, v)| guidance.share(i) * v).sum();
        assert_eq!(sum, chain);
        assert_eq!(guidance_chain(1.0, None, true, false).share(0), 1.0);
    }

    #[test]
    fn the_short_chain_gives_what_the_long_one_does() {
        let [u, ic, c] = [1.0, 3.0, 8.0];
        for (txt, img, sources) in [
            (1.2, Some(1.0), true),
            (1.2, Some(1.0), false),
            (2.5, Some(0.5), false),
            (3.0, None, true),
        ] {
            let velocity = |branch: &Branch| match branch {
                Uncond => u,
                ImgCond if sources => ic,
                ImgCond | Cond => c,
            };
            let run = |reference| -> f32 {
                let guidance = guidance_chain(txt, img, sources, reference);
                let branches = guidance.branches.iter().enumerate();
                branches.map(|(i, branch)| guidance.share(i) * velocity(branch)).sum()
            };
            assert!((run(true) - run(false)).abs() < 1e-5, "{txt} {img:?} {sources}");
        }
    }
}
