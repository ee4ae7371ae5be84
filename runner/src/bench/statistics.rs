//! Quantiles of repeated measurements, and how sure they are.

use rand_mt::Mt;
use serde::Serialize;

/// Samples that are drawn from the measured one.
const RESAMPLES: usize = 2000;
/// The same measurements have the same intervals.
const SEED: u32 = 5489;
/// What an interval of 95 % leaves out at either end.
const TAIL: f64 = 0.025;

/// A quantile with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Of what was measured.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The quantiles `shares`, each from 0 to 1, of `samples`, of which there must be some.
///
/// Intervals are percentile bootstraps (Efron 1979): as many values as there are, drawn with
/// replacement, again and again. No draw is beyond what was measured, so of ten runs the 99th
/// percentile is little more than the slowest one.
pub fn quantiles<const N: usize>(samples: &[f64], shares: [f64; N]) -> [Estimate; N] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut random = Mt::new(SEED);
    let mut drawn = vec![0; sorted.len()];
    let mut resampled = shares.map(|_| Vec::with_capacity(RESAMPLES));
    for _ in 0..RESAMPLES {
        // Indices sort as the values do.
        let count = sorted.len() as u64;
        drawn.fill_with(|| ((u64::from(random.next_u32()) * count) >> 32) as usize);
        drawn.sort_unstable();
        let values: Vec<f64> = drawn.iter().map(|&index| sorted[index]).collect();
        for (share, quantiles) in shares.iter().zip(&mut resampled) {
            quantiles.push(quantile(&values, *share));
        }
    }
    let mut resampled = resampled.into_iter();
    shares.map(|share| {
        let mut quantiles = resampled.next().unwrap_or_default();
        quantiles.sort_by(f64::total_cmp);
        Estimate {
            value: quantile(&sorted, share),
            low: quantile(&quantiles, TAIL),
            high: quantile(&quantiles, 1.0 - TAIL),
        }
    })
}

/// Between its neighbours in proportion (type 7 of Hyndman and Fan 1996, NumPy's default); NaN
/// where there is none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(below), Some(above)) => below + place.fract() * (above - below),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.quantile([1, 2, 4, 7], [0, 0.5, 0.9, 1])`.
    #[test]
    fn quantiles_are_numpy_s() {
        let of = |share| quantiles(&[7.0, 1.0, 4.0, 2.0], [share])[0].value;
        for (share, expected) in [(0.0, 1.0), (0.5, 3.0), (0.9, 6.1), (1.0, 7.0)] {
            assert!((of(share) - expected).abs() < 1e-12, "{share}");
        }
    }

    #[test]
    fn intervals_hold_the_value_repeat_and_narrow_with_more_runs() {
        let samples = |count| -> Vec<f64> {
            (0..count).map(|i| 10.0 + f64::from(i * 37 % count) / f64::from(count)).collect()
        };
        let width = |count| {
            let [p50, p90] = quantiles(&samples(count), [0.5, 0.9]);
            assert!(p50.low <= p50.value && p50.value <= p50.high && p50.high < p90.value);
            assert_eq!([p50, p90], quantiles(&samples(count), [0.5, 0.9]));
            p50.high - p50.low
        };
        let (few, many) = (width(21), width(1000));
        assert!(few > 0.2 && many < 0.1, "{few} {many}");
        // The 95 % interval of the median of 1,000 uniform values: ± 1.96 · 0.5 / √1000.
        assert!((many - 0.062).abs() < 0.01, "{many}");
    }

    /// True medians must lie inside about 95 of 100 intervals.
    #[test]
    fn intervals_cover_what_they_promise() {
        let mut random = Mt::new(7);
        let mut uniform = || f64::from(random.next_u32()) / 2f64.powi(32);
        let covers = (0..200).filter(|_| {
            let samples: Vec<f64> = (0..41).map(|_| uniform()).collect();
            let [p50] = quantiles(&samples, [0.5]);
            p50.low <= 0.5 && 0.5 <= p50.high
        });
        let count = covers.count();
        assert!((180..=198).contains(&count), "{count} of 200");
    }

    #[test]
    fn one_run_is_its_own_interval() {
        let expected = Estimate { value: 3.0, low: 3.0, high: 3.0 };
        assert_eq!(quantiles(&[3.0], [0.99]), [expected]);
    }
}
