//! What the FP8 attention plugin computes, in plain Rust: the reference of its test, and the ground
//! on which its scales are chosen. Arrays are row-major, [rows, heads × 128].

use crate::e4m3;

/// Channels of a head.
pub const HEAD: usize = 128;
/// Probabilities are rounded as multiples of its inverse, so that 1 is the largest code.
const P_UNITS: f32 = crate::E4M3_MAX;

/// Real values of one E4M3 unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// Of queries, after norm and rotation.
    pub q: f32,
    /// Of keys, after norm and rotation.
    pub k: f32,
    /// Of values.
    pub v: f32,
    /// Of the output.
    pub out: f32,
}

/// RMS norm of every row over all heads, times `weight` [heads × 128].
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let row = |row: &[f32]| {
        let squares: f32 = row.iter().map(|x| x * x).sum();
        let inverse_rms = 1.0 / (squares / row.len() as f32 + eps).sqrt();
        row.iter().zip(weight).map(|(x, w)| x * inverse_rms * w).collect::<Vec<_>>()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

/// Rotates channel c of every head with channel c + 64, by the angles of its row: `cos` and `sin`
/// are [rows, 64].
pub fn rotate_halves(x: &[f32], heads: usize, cos: &[f32], sin: &[f32]) -> Vec<f32> {
    const HALF: usize = HEAD / 2;
    let mut out = vec![0.0; x.len()];
    for (i, (from, to)) in x.chunks_exact(HEAD).zip(out.chunks_exact_mut(HEAD)).enumerate() {
        let angles = i / heads * HALF;
        for c in 0..HALF {
            let (cos, sin) = (cos[angles + c], sin[angles + c]);
            to[c] = from[c] * cos - from[c + HALF] * sin;
            to[c + HALF] = from[c + HALF] * cos + from[c] * sin;
        }
    }
    out
}

/// `keys` [rows, channels], normalised and rotated, less the mean of every channel: what enters the
/// product where the node's `center_keys` is 1. Every score of a query changes by the same number,
/// which its softmax does not see, whatever vector is subtracted.
pub fn centered(keys: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; channels];
    for row in keys.chunks_exact(channels) {
        sums.iter_mut().zip(row).for_each(|(sum, key)| *sum += f64::from(*key));
    }
    let rows = (keys.len() / channels) as f64;
    let means: Vec<f32> = sums.iter().map(|sum| (sum / rows) as f32).collect();
    keys.iter().zip(means.iter().cycle()).map(|(key, mean)| key - mean).collect()
}

/// softmax(q kᵀ / √128) v of every head, for `q` [S, heads × 128], `k` and `v` [T, heads × 128],
/// all of them as they enter the product: normalised, rotated, and centred where keys are.
///
/// With `scales`, everything that the kernel multiplies is rounded to E4M3: q, k, v, probabilities
/// relative to the largest of their row, and the output; sums are f32, and probabilities are summed
/// before they are rounded. Without, nothing is.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    heads: usize,
    scales: Option<&Scales>,
) -> Vec<f32> {
    let rounded = |x: &[f32], scale: fn(&Scales) -> f32| match scales {
        Some(scales) => x.iter().map(|&x| e4m3::round(x, scale(scales))).collect(),
        None => x.to_vec(),
    };
    let (q, k, v) = (rounded(q, |s| s.q), rounded(k, |s| s.k), rounded(v, |s| s.v));
    let mut out = vec![0.0; q.len()];
    for head in 0..heads {
        let (q, k, v) =
            (of_head(&q, heads, head), of_head(&k, heads, head), of_head(&v, heads, head));
        for (row, q) in q.iter().enumerate() {
            let at = (row * heads + head) * HEAD;
            let mixed = mix(&probabilities(q, &k), &v, scales.is_some());
            out[at..at + HEAD].copy_from_slice(&mixed);
        }
    }
    rounded(&out, |s| s.out)
}

fn of_head(x: &[f32], heads: usize, head: usize) -> Vec<[f32; HEAD]> {
    x.as_chunks().0.iter().skip(head).step_by(heads).copied().collect()
}

/// exp(s − max) of one query's scores.
fn probabilities(q: &[f32; HEAD], k: &[[f32; HEAD]]) -> Vec<f32> {
    let scale = 1.0 / (HEAD as f32).sqrt();
    let dot = |k: &[f32; HEAD]| q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * scale;
    let scores: Vec<f32> = k.iter().map(dot).collect();
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter().map(|score| (score - max).exp()).collect()
}

/// Mean of the values, weighted with probabilities.
fn mix(p: &[f32], v: &[[f32; HEAD]], rounded: bool) -> [f32; HEAD] {
    let mut out = [0.0; HEAD];
    for (&p, v) in p.iter().zip(v) {
        let p = if rounded { e4m3::round(p, 1.0 / P_UNITS) } else { p };
        out.iter_mut().zip(v).for_each(|(out, v)| *out += p * v);
    }
    let sum: f32 = p.iter().sum();
    out.map(|out| out / sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::compare;

    const HEADS: usize = 2;

    /// Numbers between -1 and 1 without a pattern.
    fn noise(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        (0..len).map(|_| (next() >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn rows(seed: u32, count: usize) -> Vec<f32> {
        noise(seed, count * HEADS * HEAD)
    }

    fn scales(q: &[f32], k: &[f32], v: &[f32], out: &[f32]) -> Scales {
        let scale = |x: &[f32]| x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / crate::E4M3_MAX;
        Scales { q: scale(q), k: scale(k), v: scale(v), out: scale(out) }
    }

    #[test]
    fn one_key_gives_its_value() {
        let (q, k, v) = (rows(1, 3), rows(2, 1), rows(3, 1));
        let out = attention(&q, &k, &v, HEADS, None);
        let expected: Vec<f32> = v.iter().cycle().take(out.len()).copied().collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_query_finds_its_key_in_its_own_head() {
        let (mut q, mut k, v) = (vec![0.0; HEADS * HEAD], vec![0.0; 2 * HEADS * HEAD], rows(4, 2));
        // Head 0 looks for key 0, head 1 for key 1.
        q[5] = 40.0;
        q[HEAD + 7] = 40.0;
        k[5] = 40.0;
        k[3 * HEAD + 7] = 40.0;
        let out = attention(&q, &k, &v, HEADS, None);
        let expected = [&v[..HEAD], &v[3 * HEAD..]].concat();
        assert!(compare(&expected, &out).unwrap().rel_l2 < 1e-6);
    }

    #[test]
    fn equal_keys_give_the_mean() {
        let (q, v) = (rows(5, 1), rows(6, 7));
        let k = rows(7, 1).repeat(7);
        let mean: Vec<f32> = (0..HEADS * HEAD)
            .map(|c| v.iter().skip(c).step_by(HEADS * HEAD).sum::<f32>() / 7.0)
            .collect();
        assert!(compare(&mean, &attention(&q, &k, &v, HEADS, None)).unwrap().rel_l2 < 1e-6);
    }

    /// Rounding costs what four roundings of 2.6 % (their root mean square) may cost, and no less
    /// than one.
    #[test]
    fn rounding_costs_a_few_percent() {
        let (q, k, v) = (rows(8, 11), rows(9, 301), rows(10, 301));
        let exact = attention(&q, &k, &v, HEADS, None);
        let scales = scales(&q, &k, &v, &exact);
        let rounded = attention(&q, &k, &v, HEADS, Some(&scales));
        let error = compare(&exact, &rounded).unwrap().rel_l2;
        assert!((0.026..0.06).contains(&error), "{error}");
        let units = rounded.iter().map(|x| x / scales.out);
        assert!(units.into_iter().all(|x| (e4m3::round(x, 1.0) - x).abs() <= x.abs() * 1e-6));
    }

    #[test]
    fn centred_keys_have_no_mean_and_give_the_same_attention() {
        let (q, v) = (rows(13, 11), rows(14, 33));
        let channels = HEADS * HEAD;
        let offset = noise(15, channels);
        let k: Vec<f32> =
            rows(16, 33).iter().zip(offset.iter().cycle()).map(|(k, o)| k + 4.0 * o).collect();
        let less = centered(&k, channels);
        for channel in 0..channels {
            let sum: f32 = less.iter().skip(channel).step_by(channels).sum();
            assert!(sum.abs() < 1e-4, "{channel}: {sum}");
        }
        let exact = |k: &[f32]| attention(&q, k, &v, HEADS, None);
        assert!(compare(&exact(&k), &exact(&less)).unwrap().rel_l2 < 1e-5);
    }

    #[test]
    fn a_norm_makes_rows_of_unit_mean_square() {
        let x = rows(11, 3);
        let weight = vec![2.0; HEADS * HEAD];
        for row in rms_norm(&x, &weight, 1e-6).chunks(HEADS * HEAD) {
            let mean = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
            assert!((mean - 4.0).abs() < 1e-4, "{mean}");
        }
        assert!(rms_norm(&[0.0; HEADS * HEAD], &weight, 1e-6).iter().all(|&x| x == 0.0));
    }

    #[test]
    fn a_rotation_turns_partners_by_the_angle_of_their_row() {
        let x = rows(12, 2);
        let angles: Vec<f32> = (0..HEAD).map(|i| i as f32 * 0.1).collect();
        let [cos, sin] =
            [f32::cos, f32::sin].map(|f| angles.iter().map(|&a| f(a)).collect::<Vec<_>>());
        let turned = rotate_halves(&x, HEADS, &cos, &sin);
        // Row 1, head 1, channel 3 and its partner.
        let (at, angle) = (3 * HEAD + 3, 64 + 3);
        assert_eq!(turned[at], x[at] * cos[angle] - x[at + 64] * sin[angle]);
        assert_eq!(turned[at + 64], x[at + 64] * cos[angle] + x[at] * sin[angle]);
        let backwards: Vec<f32> = sin.iter().map(|sin| -sin).collect();
        let back = rotate_halves(&turned, HEADS, &cos, &backwards);
        assert!(compare(&x, &back).unwrap().rel_l2 < 1e-6);
    }
}
