//! What an FP8 scale is chosen from: sums over all values of a tensor, of plain primitives.
//!
//! Indicators are signs of what is left above a limit, because the dialect has no booleans.

use std::ops::RangeInclusive;

use super::E4M3_MAX;
use crate::builder::{Mismatch, show_ports};
use crate::graph::Attribute;
use crate::taps::{STEPS, edges};
use crate::value::integers;
use crate::{DType, Value};

/// Exponents of two of the sizes that a tensor may have; its squares, too, are f32.
const SIZES: RangeInclusive<i32> = -60..=60;

impl<'g> Value<'g> {
    /// How many elements are larger than each of [`edges`] in magnitude, f32 `[EDGES]`.
    #[track_caller]
    pub(crate) fn above(self) -> Self {
        let edges = self.floats(&edges());
        (self.to_f32().abs().with_axis() - edges).indicator().sum_by_last_axis()
    }

    /// Sums of squared errors of rounding to E4M3 with each of `STEPS` scales an octave, f32
    /// `[STEPS]`.
    ///
    /// The size of the tensor, a power of two, is taken out first: nothing saturates, and one octave
    /// of scales stands for all.
    #[track_caller]
    pub(crate) fn rounding(self) -> Self {
        let x = self.to_f32();
        let size = x.amax(&[]).next_power_of_two();
        let largest: [f32; STEPS] = std::array::from_fn(|j| (j as f32 / STEPS as f32).exp2());
        let scale = self.floats(&largest.map(|largest| largest / E4M3_MAX));
        let x = x.div(size).with_axis();
        let error = x - x.div(scale).fake_quantize(1.0) * scale;
        (error * error).sum_by_last_axis() * (size * size)
    }

    /// The smallest power of two that this scalar does not exceed, f32 `[1]`.
    #[track_caller]
    fn next_power_of_two(self) -> Self {
        let powers: Vec<f32> = SIZES.map(|exponent| 2f32.powi(exponent)).collect();
        let smallest = powers[0];
        let exceeded = (self - self.floats(&powers)).indicator();
        let doubled: Vec<f32> = powers.iter().map(|power| 2.0 * power).collect();
        (exceeded * self.floats(&doubled)).max(0).at_least(smallest)
    }

    /// 1 where an element is above 0, else 0.
    #[track_caller]
    fn indicator(self) -> Self {
        self.at_least(0.0).sign()
    }

    /// With one more axis, the last, of size 1.
    #[track_caller]
    fn with_axis(self) -> Self {
        let axis = integers(self.g, &[-1]);
        self.g.node("Unsqueeze", &[self, axis], &[], |p| {
            Ok((p[0].dtype, [&p[0].shape[..], &[1.into()]].concat()))
        })
    }

    /// Sums over all axes but the last, first over the tokens, which are the third from the end:
    /// counts stay exact that way up to 2^24 tokens.
    #[track_caller]
    fn sum_by_last_axis(self) -> Self {
        let rank = self.shape().len();
        let by_channel = self.sum(rank.saturating_sub(3));
        let axes: Vec<i64> = (0..rank.saturating_sub(1)).map(|axis| axis as i64).collect();
        let axes = integers(self.g, &axes);
        let keepdims = ("keepdims", Attribute::Int(0));
        self.g.node("ReduceSum", &[by_channel, axes], &[keepdims], |p| {
            let last = p[0].shape.last().filter(|_| rank >= 3);
            let expected = "an operand of channels by tokens";
            let last = last.ok_or_else(|| Mismatch::new(expected, show_ports(p)))?;
            Ok((p[0].dtype, vec![last.clone()]))
        })
    }

    /// A one-dimensional f32 constant.
    fn floats(self, values: &[f32]) -> Value<'g> {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.g.constant(DType::F32, &[values.len()], bytes)
    }
}
