//! The projections of spec G.3. N(d, base; eta, threshold, momentum): a guidance term that is
//! averaged over steps, limited in length, and weakened along its base. apg(d, ref): one that is
//! weakened along its reference, over the whole latent.

use ndarray::{Array4, ArrayView3, ArrayViewMut3, Axis, Zip};
use rayon::prelude::*;

use super::CHUNK;

/// Share that apg keeps of the part along its reference.
const KEPT_ALONG: f64 = 0.2;

/// Settings of one term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    pub eta: f64,
    /// Longest a frame of the term may be; 0 or less lifts the limit.
    pub norm_threshold: f64,
    pub momentum: f64,
}

/// Running sum of one term over the steps of a request (K.12: one per term).
#[derive(Default)]
pub(super) struct Momentum(Option<Array4<f64>>);

impl Momentum {
    /// running = d + factor·running.
    fn update(&mut self, difference: Array4<f64>, factor: f64) -> Array4<f64> {
        if factor == 0.0 {
            return difference;
        }
        let running = match self.0.take() {
            Some(previous) => difference + previous * factor,
            None => difference,
        };
        self.0 = Some(running.clone());
        running
    }
}

/// N over latents `[16,T,h,w]`; norms and projections per latent frame, over C, H and W.
pub(super) fn normalise(
    difference: Array4<f64>,
    base: &Array4<f64>,
    limits: Limits,
    momentum: &mut Momentum,
) -> Array4<f64> {
    let mut term = momentum.update(difference, limits.momentum);
    let frames = term.axis_iter_mut(Axis(1)).into_par_iter();
    let frames = frames.zip(base.axis_iter(Axis(1)).into_par_iter());
    frames.for_each(|(frame, base)| normalise_frame(frame, &base, limits));
    term
}

/// In place on one frame [16,h,w]: the limit first, then (d − par) + eta·par (K.12).
fn normalise_frame(mut d: ArrayViewMut3<f64>, base: &ArrayView3<f64>, limits: Limits) {
    if limits.norm_threshold > 0.0 {
        let length = d.iter().map(|x| x * x).sum::<f64>().sqrt();
        d *= (limits.norm_threshold / length).min(1.0);
    }
    let length = base.iter().map(|b| b * b).sum::<f64>().sqrt();
    let unit = base.mapv(|b| b / length.max(1e-12));
    let along: f64 = Zip::from(&d).and(&unit).fold(0.0, |sum, d, p| sum + d * p);
    d.scaled_add((limits.eta - 1.0) * along, &unit);
}

/// c of apg(d, upper) = d − c·upper over whole latents, with d = upper − lower: four fifths of the
/// part of d along upper.
pub(super) fn damping(lower: &[f32], upper: &[f32]) -> f64 {
    let chunk = |(lower, upper): (&[f32], &[f32])| {
        let ends = lower.iter().zip(upper).map(|(&l, &u)| (f64::from(l), f64::from(u)));
        ends.fold((0.0, 0.0), |(dot, square), (l, u)| (dot + (u - l) * u, square + u * u))
    };
    let chunks = lower.par_chunks(CHUNK).zip(upper.par_chunks(CHUNK));
    // Collected first: the order of the sum must not depend on the number of threads.
    let sums: Vec<(f64, f64)> = chunks.map(chunk).collect();
    let (dot, square) = sums.iter().fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
    (1.0 - KEPT_ALONG) * (dot / square.max(1e-8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Limits = Limits { eta: 1.0, norm_threshold: 0.0, momentum: 0.0 };

    /// [2,3,1,2]: frame t of the difference is (t+1)·(3, 0, 0, 4), of the base (0, 0, 0, 2).
    fn example() -> (Array4<f64>, Array4<f64>) {
        let at = |c, w| if c == w { 3.0 + c as f64 } else { 0.0 };
        let difference =
            Array4::from_shape_fn((2, 3, 1, 2), |(c, t, _, w)| (t + 1) as f64 * at(c, w));
        let base = Array4::from_shape_fn((2, 3, 1, 2), |(c, _, _, w)| (2 * c * w) as f64);
        (difference, base)
    }

    fn run(limits: Limits) -> Array4<f64> {
        let (difference, base) = example();
        normalise(difference, &base, limits, &mut Momentum::default())
    }

    #[test]
    fn eta_one_without_limit_changes_nothing() {
        assert_eq!(run(FREE), example().0);
    }

    #[test]
    fn eta_scales_only_the_part_along_the_base() {
        let term = run(Limits { eta: 0.5, ..FREE });
        assert_eq!([term[[0, 0, 0, 0]], term[[1, 0, 0, 1]]], [3.0, 2.0]);
        assert_eq!([term[[0, 2, 0, 0]], term[[1, 2, 0, 1]]], [9.0, 6.0]);
    }

    #[test]
    fn each_frame_is_limited_by_its_own_length_before_the_projection() {
        let term = run(Limits { eta: 0.0, norm_threshold: 10.0, ..FREE });
        assert_eq!([term[[0, 0, 0, 0]], term[[0, 1, 0, 0]]], [3.0, 6.0]);
        assert!((term[[0, 2, 0, 0]] - 6.0).abs() < 1e-12);
        assert_eq!(term[[1, 2, 0, 1]], 0.0);
    }

    #[test]
    fn momentum_adds_a_share_of_the_earlier_terms() {
        let (difference, base) = example();
        let mut momentum = Momentum::default();
        let limits = Limits { momentum: -0.5, ..FREE };
        let mut next = || normalise(difference.clone(), &base, limits, &mut momentum);
        assert_eq!([next(), next(), next()].map(|d| d[[0, 0, 0, 0]]), [3.0, 1.5, 2.25]);
    }

    #[test]
    fn damping_keeps_a_fifth_along_the_reference_of_the_whole_latent() {
        // d = (3, 0, 4), upper = (0, 1, 2): 0.8 · 8 / 5.
        assert!((damping(&[-3.0, 1.0, -2.0], &[0.0, 1.0, 2.0]) - 1.28).abs() < 1e-12);
        // Over more than one chunk: d = upper, so four fifths of it go.
        let upper: Vec<f32> = (0..2 * CHUNK + 77).map(|i| (i % 7) as f32 - 3.0).collect();
        assert!((damping(&vec![0.0; upper.len()], &upper) - 0.8).abs() < 1e-12);
        assert_eq!(damping(&[1.0, 2.0], &[0.0, 0.0]), 0.0);
    }

    #[test]
    fn zero_difference_and_zero_base_stay_finite() {
        let limits = Limits { eta: 0.5, norm_threshold: 50.0, momentum: 0.0 };
        let zero = Array4::<f64>::zeros((16, 1, 1, 1));
        let base = zero.clone();
        let term = normalise(zero.clone(), &base, limits, &mut Momentum::default());
        assert_eq!(term, zero);
    }
}
