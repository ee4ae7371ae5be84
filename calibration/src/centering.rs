//! Which self attentions gain by subtracting the mean over tokens from their keys before rounding.
//!
//! The subtraction is exact: it moves all scores of a query by the same number, which softmax does
//! not see. E4M3 rounds a key by a share of its size, the part that all tokens have in common
//! included, and what that part adds to the scores' noise is what centring takes away.

/// Keys are centred where this share of the noise, or less, is left: the kernel reads them once more
/// for it.
pub const WORTH_IT: f32 = 2.0 / 3.0;

/// Share of the noise that rounded keys bring into an attention's scores which is left once they are
/// centred, from the largest magnitudes by channel of queries, keys and centred keys. NaN where
/// there is none before, or nothing is known of it.
pub fn noise_left(queries: &[f32], keys: &[f32], centered: &[f32]) -> f32 {
    noise(queries, centered) / noise(queries, keys)
}

/// Up to a factor: roundings of channels are independent.
fn noise(queries: &[f32], keys: &[f32]) -> f32 {
    let of = |(q, k): (&f32, &f32)| (f64::from(*q) * f64::from(*k)).powi(2);
    queries.iter().zip(keys).map(of).sum::<f64>().sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::compare;
    use crate::fp8_attention::{HEAD, Scales, attention, centered};

    #[test]
    fn a_channel_counts_as_its_queries_weigh_it() {
        assert_eq!(noise_left(&[1.0, 1.0], &[4.0, 3.0], &[0.0, 3.0]), 0.6);
        assert_eq!(noise_left(&[0.0, 1.0], &[4.0, 3.0], &[0.0, 3.0]), 1.0);
        assert!(noise_left(&[1.0], &[0.0], &[0.0]).is_nan());
        assert!(noise_left(&[1.0], &[f32::NAN], &[1.0]).is_nan());
    }

    /// Numbers of variance 1 without a pattern.
    fn noise_of(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..len).map(|_| (0..12).map(|_| next()).sum()).collect()
    }

    fn amax(x: &[f32]) -> Vec<f32> {
        let largest = |c| x.iter().skip(c).step_by(HEAD).fold(0.0f32, |m, x| m.max(x.abs()));
        (0..HEAD).map(largest).collect()
    }

    /// Relative L2 of rounded attention with these keys; the output's own rounding left out.
    fn error(q: &[f32], k: &[f32], v: &[f32]) -> f64 {
        let scale = |x: &[f32]| amax(x).into_iter().fold(0.0, f32::max) / crate::E4M3_MAX;
        let exact = attention(q, k, v, 1, None);
        let scales = Scales { q: scale(q), k: scale(k), v: scale(v), out: scale(&exact) };
        compare(&exact, &attention(q, k, v, 1, Some(&scales))).unwrap().rel_l2
    }

    /// The same queries, keys and values, whose keys have `common` deviations in common: errors as
    /// they are and centred, and the share of noise that is said to be left.
    fn errors(common: f32) -> (f64, f64, f32) {
        let [q, noise, v] = [1, 2, 3].map(|seed| noise_of(seed, 256 * HEAD));
        let offset = noise_of(4, HEAD);
        let key = |(i, x): (usize, &f32)| x + common * offset[i % HEAD];
        let k: Vec<f32> = noise.iter().enumerate().map(key).collect();
        let less = centered(&k, HEAD);
        let left = noise_left(&amax(&q), &amax(&k), &amax(&less));
        (error(&q, &k, &v), error(&q, &less, &v), left)
    }

    #[test]
    fn what_keys_have_in_common_costs_precision_and_centring_gives_it_back() {
        let (_, clean, _) = errors(0.0);
        for (common, gain) in [(0.0, 0.95..1.05), (1.0, 1.0..1.2), (3.0, 1.4..2.0), (8.0, 3.0..5.0)]
        {
            let (plain, less, left) = errors(common);
            let found = plain / less;
            let shown =
                format!("{common} deviations: {plain:.4}, centred {less:.4}, {left:.2} left");
            println!("{shown}");
            assert!((less / clean - 1.0).abs() < 0.05, "{shown}, {clean:.4} without a common part");
            assert!(gain.contains(&found), "{shown}");
            assert_eq!(left <= WORTH_IT, found >= 1.4, "{shown}");
        }
    }
}
