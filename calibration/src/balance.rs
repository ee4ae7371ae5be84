//! Exact re-balancing of an attention: factors that cancel in its result, and bring the channels of
//! what is rounded to E4M3 closer to each other.
//!
//! A channel of the queries times f and the same one of the keys divided by f leave q·k as it is; so
//! do a channel of the values times f and the column of the output projection that reads it divided
//! by f. Factors are powers of two: folded into weights they change no bit but exponents, in bf16
//! too. Nothing is lost by that, because E4M3 is a floating-point format: only what falls below its
//! smallest normal value, 2^-15 of the largest, has anything to win.

use serde::{Deserialize, Serialize};

use crate::TableError;

/// Largest exponent of a factor, up and down: beyond it a channel is as good as empty.
pub const MAX_EXPONENT: i8 = 24;

/// The factors of one attention as exponents of two, by channel in the checkpoint's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// Of the queries; keys take the inverse. Channels that rotate together have the same.
    pub queries: Vec<i8>,
    /// Of the values; columns of the output projection take the inverse.
    pub values: Vec<i8>,
}

/// Where a factor goes in a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The first axis: output channels, or the only one of a vector.
    Rows,
    /// The second axis: input channels.
    Columns,
}

/// What is done to one tensor: its rows or columns times 2 to the power of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Which axis.
    pub axis: Axis,
    /// One for each row or column.
    pub exponents: Vec<i8>,
}

impl Balance {
    /// What becomes of `tensor`, a name below the attention's path such as `norm_q.weight`; `None`
    /// where it stays as it is.
    pub fn fold(&self, tensor: &str) -> Option<Fold> {
        let inverse = |exponents: &[i8]| exponents.iter().map(|e| -e).collect();
        let (axis, exponents) = match tensor {
            "norm_q.weight" => (Axis::Rows, self.queries.clone()),
            "norm_k.weight" => (Axis::Rows, inverse(&self.queries)),
            "to_v.weight" | "to_v.bias" => (Axis::Rows, self.values.clone()),
            "to_out.0.weight" => (Axis::Columns, inverse(&self.values)),
            _ => return None,
        };
        Some(Fold { axis, exponents })
    }

    /// Refuses exponents that no calibration chooses.
    pub(crate) fn validate(&self, submodule: &str, path: &str) -> Result<(), TableError> {
        let mut all = self.queries.iter().chain(&self.values);
        match all.find(|e| !(-MAX_EXPONENT..=MAX_EXPONENT).contains(*e)) {
            None => Ok(()),
            Some(&found) => {
                let (submodule, path) = (submodule.into(), path.into());
                Err(TableError::Exponent { submodule, path, found })
            }
        }
    }
}

impl Fold {
    /// Multiplies `values`, consecutive elements from number `start` on of a tensor with `columns`
    /// elements a row.
    pub fn apply(&self, values: &mut [f32], start: usize, columns: usize) {
        for (i, value) in (start..).zip(values) {
            let channel = match self.axis {
                Axis::Rows => i / columns,
                Axis::Columns => i % columns,
            };
            *value *= power(self.exponents[channel]);
        }
    }
}

/// Exponents e that make `a`·2^e and `b`·2^-e, largest magnitudes by channel, equally even, each in
/// itself: their sizes as a whole are the scales' business. 0 where one of them is 0 or not finite.
pub fn exponents(a: &[f32], b: &[f32]) -> Vec<i8> {
    let limit = f32::from(MAX_EXPONENT);
    let [whole_a, whole_b] = [a, b].map(|amax| amax.iter().copied().fold(0.0, f32::max));
    let exponent = |(a, b): (&f32, &f32)| {
        let ratio = ((b / whole_b) / (a / whole_a)).log2() / 2.0;
        if ratio.is_finite() { ratio.round().clamp(-limit, limit) as i8 } else { 0 }
    };
    a.iter().zip(b).map(exponent).collect()
}

/// `amax` of channels after their factors.
pub fn scaled(amax: &[f32], exponents: impl IntoIterator<Item = i8>) -> Vec<f32> {
    amax.iter().zip(exponents).map(|(amax, e)| amax * power(e)).collect()
}

fn power(exponent: i8) -> f32 {
    2f32.powi(exponent.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::compare;
    use crate::fp8_attention::{HEAD, Scales, attention};

    #[test]
    fn both_sides_of_a_channel_meet_in_the_middle() {
        let (a, b) = ([1.0, 64.0, 16.0, 0.0], [16.0, 1.0, 4.0, 5.0]);
        let e = exponents(&a, &b);
        assert_eq!(e, [3, -2, 0, 0]);
        assert_eq!(scaled(&a, e.iter().copied()), [8.0, 16.0, 16.0, 0.0]);
        assert_eq!(scaled(&b, e.iter().map(|e| -e)), [2.0, 4.0, 4.0, 5.0]);
        assert_eq!(exponents(&[8.0, 4.0], &[2.0, 1.0]), [0, 0], "sizes as a whole do not count");
        assert_eq!(exponents(&[f32::NAN, 1e-18, 1.0], &[1.0, 1.0, 1.0]), [0, MAX_EXPONENT, 0]);
    }

    #[test]
    fn factors_cancel_in_every_pair_of_tensors() {
        let balance = Balance { queries: vec![1, -2], values: vec![3, 0] };
        let folded = |tensor, mut x: Vec<f32>, columns| {
            balance.fold(tensor).unwrap().apply(&mut x, 0, columns);
            x
        };
        assert_eq!(folded("norm_q.weight", vec![1.0, 1.0], 1), [2.0, 0.25]);
        assert_eq!(folded("norm_k.weight", vec![1.0, 1.0], 1), [0.5, 4.0]);
        assert_eq!(folded("to_v.weight", vec![1.0; 4], 2), [8.0, 8.0, 1.0, 1.0]);
        assert_eq!(folded("to_v.bias", vec![1.0; 2], 1), [8.0, 1.0]);
        assert_eq!(folded("to_out.0.weight", vec![1.0; 4], 2), [0.125, 1.0, 0.125, 1.0]);
        assert_eq!(balance.fold("to_q.weight"), None);
        let mut tail = [1.0; 3];
        balance.fold("to_v.weight").unwrap().apply(&mut tail, 1, 2);
        assert_eq!(tail, [8.0, 1.0, 1.0], "a block may begin anywhere");
    }

    /// Channels of one attention, normal but for the spread of their sizes.
    struct Spread {
        q: Vec<f32>,
        k: Vec<f32>,
        v: Vec<f32>,
    }

    impl Spread {
        /// Channel c of q is 2^`octaves` times smaller than usual for every second c, that of k so
        /// much larger, and that of v smaller.
        fn new(octaves: i32) -> Self {
            let mut state = 7u32;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            let mut rows = |count: usize, sign: i32| -> Vec<f32> {
                let size =
                    |i: usize| 2f32.powi(if i.is_multiple_of(2) { sign * octaves } else { 0 });
                (0..count * HEAD).map(|i| next() * size(i)).collect()
            };
            Self { q: rows(9, -1), k: rows(151, 1), v: rows(151, -1) }
        }

        /// Relative L2 of FP8 attention with scales from amax. Each channel of the output counts the
        /// same, as if the projection behind it had made up for its size.
        fn error(&self) -> f64 {
            let scale = |x: &[f32]| amax(x, 1)[0] / crate::E4M3_MAX;
            let exact = attention(&self.q, &self.k, &self.v, 1, None);
            let scales = Scales {
                q: scale(&self.q),
                k: scale(&self.k),
                v: scale(&self.v),
                out: scale(&exact),
            };
            let rounded = attention(&self.q, &self.k, &self.v, 1, Some(&scales));
            let sizes = amax(&self.v, HEAD);
            let even = |x: &[f32]| -> Vec<f32> {
                x.iter().enumerate().map(|(i, x)| x / sizes[i % HEAD]).collect()
            };
            compare(&even(&exact), &even(&rounded)).unwrap().rel_l2
        }

        /// How the attention is re-balanced in front of a projection that makes up for the size of v.
        fn balance(&self) -> Balance {
            let columns: Vec<f32> = amax(&self.v, HEAD).iter().map(|v| 1.0 / v).collect();
            let queries = exponents(&amax(&self.q, HEAD), &amax(&self.k, HEAD));
            let values = exponents(&amax(&self.v, HEAD), &columns);
            Balance { queries, values }
        }

        /// The same attention, re-balanced.
        fn balanced(&self) -> Self {
            let balance = self.balance();
            let fold = |tensor: &str, x: &[f32]| {
                let exponents = balance.fold(tensor).unwrap().exponents;
                let mut x = x.to_vec();
                Fold { axis: Axis::Columns, exponents }.apply(&mut x, 0, HEAD);
                x
            };
            Self {
                q: fold("norm_q.weight", &self.q),
                k: fold("norm_k.weight", &self.k),
                v: fold("to_v.bias", &self.v),
            }
        }
    }

    /// Largest magnitude of each of `channels` columns.
    fn amax(x: &[f32], channels: usize) -> Vec<f32> {
        let mut amax = vec![0.0f32; channels];
        x.iter().enumerate().for_each(|(i, x)| {
            let largest = &mut amax[i % channels];
            *largest = largest.max(x.abs());
        });
        amax
    }

    /// What the module's head says: E4M3 floats, so a spread of some octaves costs nothing and
    /// re-balancing wins nothing; one that reaches the subnormal values costs much.
    #[test]
    fn only_a_spread_that_reaches_subnormal_values_has_something_to_win() {
        for octaves in [0, 3, 6] {
            let (plain, balanced) = (Spread::new(octaves), Spread::new(octaves).balanced());
            let gain = plain.error() / balanced.error();
            assert!((0.98..1.05).contains(&gain), "{octaves} octaves: {gain}");
        }
        let (plain, balanced) = (Spread::new(16).error(), Spread::new(16).balanced().error());
        assert!(plain > 0.2 && balanced < 0.05, "{plain} {balanced}");
    }

    #[test]
    fn the_exact_result_is_the_same_to_the_last_bit() {
        let plain = Spread::new(5);
        let of = |s: &Spread| attention(&s.q, &s.k, &s.v, 1, None);
        let values = plain.balance().values;
        assert!(values.iter().any(|&e| e != 0));
        let mut expected = of(&plain);
        Fold { axis: Axis::Columns, exponents: values }.apply(&mut expected, 0, HEAD);
        assert!(of(&plain.balanced()) == expected);
    }
}
