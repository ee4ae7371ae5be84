//! Which magnitude of a tensor becomes the largest E4M3 value: its largest one, or another.
//!
//! E4M3 is a floating-point format: a factor of two in a scale changes no relative error but that of
//! the smallest values, below 2^-15 of the largest. So a smaller scale, which saturates the largest
//! values, has next to nothing to give in return; what is left to choose is where within an octave the
//! steps lie, and that is all that the least squared error decides. A percentile saturates what
//! lies above it, and pays where that is noise.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::TableError;

/// Percentile of NVIDIA's ModelOpt and pytorch-quantization where none is given.
pub const DEFAULT_PERCENTILE: f64 = 99.99;

/// How the scale of an activation is chosen, in the names of NVIDIA's ModelOpt. Weights, whose
/// values are like those of a normal distribution, keep their largest magnitude.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// From the largest magnitude: nothing saturates.
    #[default]
    Amax,
    /// From the magnitude that this share of all values, in percent, does not exceed.
    Percentile(f64),
    /// The scale of least squared error, of those that saturate nothing. It knows the tensor alone:
    /// beside outliers so large that all else is subnormal, it serves them, whoever reads the rest.
    Mse,
}

/// What all values of a tensor sum up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// How many values are larger than each edge of a list of magnitudes. The first edge is below
    /// all values, so its count is that of all.
    pub above: Vec<f64>,
    /// Squared errors of rounding to E4M3: entry j of n is that of the scales 2^(k + j / n) / 448.
    pub errors: Vec<f64>,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amax => f.write_str("amax"),
            Self::Percentile(percent) => write!(f, "percentile {percent}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

impl Method {
    /// Refuses a percentile that is none.
    pub fn validate(self) -> Result<(), TableError> {
        match self {
            Self::Percentile(found) if !(found > 0.0 && found <= 100.0) => {
                Err(TableError::Percentile { found })
            }
            _ => Ok(()),
        }
    }

    /// The magnitude that becomes 448 in a tensor with values up to `amax`, which is returned as it
    /// is where it is not finite. `edges` are those of `sums`.
    pub fn choose(self, amax: f32, sums: &Sums, edges: &[f32]) -> f32 {
        match self {
            _ if !amax.is_finite() => amax,
            Self::Amax => amax,
            Self::Percentile(percent) => percentile(percent, amax, &sums.above, edges),
            Self::Mse => least_error(amax, &sums.errors),
        }
    }
}

/// The magnitude that `percent` of the values do not exceed, as if those between two edges were
/// spread evenly.
fn percentile(percent: f64, amax: f32, above: &[f64], edges: &[f32]) -> f32 {
    let allowed = above.first().copied().unwrap_or_default() * (1.0 - percent / 100.0);
    let Some(end) = above.iter().position(|&count| count <= allowed) else {
        return amax;
    };
    let Some(start) = end.checked_sub(1) else { return amax };
    let low = f64::from(edges[start].max(0.0));
    let high = f64::from(edges[end].min(amax));
    let share = (above[start] - allowed) / (above[start] - above[end]);
    (low + (high - low) * share) as f32
}

/// The smallest magnitude from `amax` on whose scale is one of those with the least of `errors`;
/// `amax` where none is less than another.
fn least_error(amax: f32, errors: &[f64]) -> f32 {
    let order = |a: &(usize, &f64), b: &(usize, &f64)| a.1.total_cmp(b.1);
    let all = || errors.iter().enumerate();
    let (Some((best, least)), Some((_, most))) = (all().min_by(order), all().max_by(order)) else {
        return amax;
    };
    if least.total_cmp(most).is_eq() {
        return amax;
    }
    let within = best as f32 / errors.len() as f32;
    let octave = (amax.log2() - within).ceil();
    (octave + within).exp2().max(amax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::E4M3_MAX;
    use crate::e4m3::round;

    const STEPS: usize = 32;

    /// Two edges an octave around 1, as in `bernini_graphs::taps`.
    fn edges() -> Vec<f32> {
        [-1.0].into_iter().chain((-24..=30).map(|i| (i as f32 / 2.0).exp2())).collect()
    }

    fn squared_error(values: &[f32], largest: f32) -> f64 {
        let error = |&x: &f32| f64::from(x - round(x, largest / E4M3_MAX)).powi(2);
        values.iter().map(error).sum()
    }

    fn amax(values: &[f32]) -> f32 {
        values.iter().map(|x| x.abs()).fold(0.0, f32::max)
    }

    /// The sums of `values`, by definition.
    fn sums(values: &[f32]) -> Sums {
        let above = |edge: &f32| values.iter().filter(|x| x.abs() > *edge).count() as f64;
        let octave = amax(values).log2().ceil();
        let error = |j| squared_error(values, (octave + j as f32 / STEPS as f32).exp2());
        Sums { above: edges().iter().map(above).collect(), errors: (0..STEPS).map(error).collect() }
    }

    fn choose(method: Method, values: &[f32]) -> f32 {
        method.choose(amax(values), &sums(values), &edges())
    }

    /// 20,000 values, by the inverse of a distribution of magnitudes.
    fn values(magnitude: impl Fn(f32) -> f32) -> Vec<f32> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..20_000).map(|_| magnitude(next()) * if next() < 0.5 { -1.0 } else { 1.0 }).collect()
    }

    /// Distributions with tails of every weight, the last with one value in 256 far outside.
    fn distributions() -> [(&'static str, Vec<f32>); 5] {
        let rayleigh = |u: f32| (-2.0 * (1.0 - u).ln()).sqrt();
        let mut outliers = values(rayleigh);
        outliers.iter_mut().step_by(256).for_each(|x| *x *= 300.0);
        [
            ("uniform", values(|u| u)),
            ("rayleigh", values(rayleigh)),
            ("exponential", values(|u| -(1.0 - u).ln())),
            ("pareto", values(|u| (1.0 - u).powf(-0.4))),
            ("outliers", outliers),
        ]
    }

    #[test]
    fn a_percentile_lies_where_that_share_of_the_values_does() {
        for (name, values) in distributions() {
            let mut sorted: Vec<f32> = values.iter().map(|x| x.abs()).collect();
            sorted.sort_unstable_by(f32::total_cmp);
            for percent in [50.0, 90.0, 99.0, 99.9, 99.99] {
                let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
                let (found, exact) =
                    (choose(Method::Percentile(percent), &values), sorted[rank - 1]);
                let ratio = found / exact;
                // Half an octave between two edges; evenly filled is a good guess.
                assert!((0.85..1.2).contains(&ratio), "{name} {percent}: {found} {exact}");
            }
            assert_eq!(choose(Method::Percentile(100.0), &values), amax(&values), "{name}");
        }
    }

    #[test]
    fn beyond_the_last_edge_and_below_the_first_there_is_still_a_percentile() {
        let large = vec![1e5, 2e5, 3e5, 4e5];
        assert_eq!(choose(Method::Percentile(99.0), &large), 4e5);
        let small = vec![1e-6; 100];
        assert_eq!(choose(Method::Percentile(100.0), &small), 1e-6);
        assert_eq!(choose(Method::Percentile(50.0), &small), 5e-7);
        assert_eq!(choose(Method::Percentile(99.0), &[0.0; 8]), 0.0);
    }

    /// Against every 1/16 octave from 2^-10 of the largest magnitude to twice that.
    #[test]
    fn no_scale_has_a_smaller_error_though_it_may_saturate() {
        for (name, values) in distributions() {
            let (amax, chosen) = (amax(&values), choose(Method::Mse, &values));
            assert!((1.0..2.0).contains(&(chosen / amax)), "{name}: {chosen}");
            let candidates = (-160..16).map(|i| amax * (i as f32 / 16.0).exp2());
            let least = candidates.map(|c| squared_error(&values, c)).fold(f64::MAX, f64::min);
            let found = squared_error(&values, chosen);
            // Candidates lie elsewhere within a step than what is chosen from.
            assert!(found <= 1.02 * least, "{name}: {found} {least}");
            assert!(found <= 1.001 * squared_error(&values, amax), "{name}: no worse than amax");
        }
    }

    #[test]
    fn nothing_is_chosen_where_nothing_differs() {
        for method in [Method::Amax, Method::Percentile(50.0), Method::Mse] {
            assert!(method.choose(f32::NAN, &sums(&[1.0]), &edges()).is_nan());
        }
        assert_eq!(Method::Mse.choose(3.0, &Sums::default(), &edges()), 3.0);
        assert_eq!(choose(Method::Mse, &[0.0; 4]), 0.0);
        assert_eq!(choose(Method::Amax, &[0.5, -3.0]), 3.0);
    }

    #[test]
    fn percentiles_are_percent() {
        for found in [0.0, -1.0, 100.1, f64::NAN] {
            let refused = Method::Percentile(found).validate().unwrap_err();
            assert!(refused.to_string().contains("percentile"), "{refused}");
        }
        assert_eq!(Method::Percentile(100.0).validate(), Ok(()));
    }
}
