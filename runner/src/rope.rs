//! Segment-aware 3D rotary positions (spec B.8, B.9, K.9).

use std::f64::consts::LN_10;

use ndarray::{Array2, Axis};

use crate::latents::Grid;

/// Base of every frequency: 10000.
const LN_THETA: f64 = 4.0 * LN_10;

/// Cosines and sines of the rotary angles, `[tokens, head_dim / 2]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Cosines.
    pub cos: Array2<f32>,
    /// Sines.
    pub sin: Array2<f32>,
}

impl Rope {
    /// Angles of all tokens of `segments`, each a grid and its source id (the target's is 0).
    ///
    /// Positions restart in every segment; the id turns every pair by its own frequency.
    pub fn new(segments: &[(Grid, f64)], head_dim: usize) -> Self {
        let tokens = segments.iter().map(|(grid, _)| grid.tokens()).sum();
        let mut angles = Array2::zeros((tokens, head_dim / 2));
        let frequencies = Frequencies::new(head_dim);
        let positions = segments
            .iter()
            .flat_map(|(grid, id)| grid.positions().map(move |position| (position, *id)));
        for (mut row, (position, id)) in angles.rows_mut().into_iter().zip(positions) {
            for (pair, angle) in row.iter_mut().enumerate() {
                let (axis, axis_frequency) = frequencies.axis[pair];
                *angle = position[axis] as f64 * axis_frequency + id * frequencies.source[pair];
            }
        }
        Self::from_angles(&angles)
    }

    /// The cosines and sines of `angles`.
    pub(crate) fn from_angles(angles: &Array2<f64>) -> Self {
        let cos = angles.mapv(|angle| angle.cos() as f32);
        Self { cos, sin: angles.mapv(|angle| angle.sin() as f32) }
    }

    /// The rows `tokens`, in that order.
    ///
    /// # Panics
    /// On an index beyond the table.
    pub fn select(&self, tokens: &[usize]) -> Self {
        let rows = |table: &Array2<f32>| table.select(Axis(0), tokens);
        Self { cos: rows(&self.cos), sin: rows(&self.sin) }
    }
}

/// Source ids of `n` sources in order: 1, 2, …, or spread evenly over 1..=`max_trained` where
/// there are more than that and `interpolate` is on.
pub fn source_ids(n: usize, max_trained: usize, interpolate: bool) -> Vec<f64> {
    let spread = interpolate && n > max_trained && n > 1;
    let step = if spread { (max_trained as f64 - 1.0) / (n as f64 - 1.0) } else { 1.0 };
    (0..n).map(|k| 1.0 + step * k as f64).collect()
}

struct Frequencies {
    /// Axis (time, height, width) of every channel pair and its frequency along it.
    axis: Vec<(usize, f64)>,
    /// Frequency of the source id, over the whole head.
    source: Vec<f64>,
}

impl Frequencies {
    /// Height and width take `2·(head_dim / 6)` channels each, time the rest.
    fn new(head_dim: usize) -> Self {
        let side = 2 * (head_dim / 6);
        let dims = [head_dim - 2 * side, side, side];
        let axis = dims
            .iter()
            .enumerate()
            .flat_map(|(axis, &dim)| (0..dim / 2).map(move |j| (axis, frequency(j, dim))));
        let source = (0..head_dim / 2).map(|k| frequency(k, head_dim)).collect();
        Self { axis: axis.collect(), source }
    }
}

fn frequency(index: usize, dim: usize) -> f64 {
    (-2.0 * index as f64 / dim as f64 * LN_THETA).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_head_splits_into_22_21_21_pairs() {
        let frequencies = Frequencies::new(128);
        let pairs = |axis| frequencies.axis.iter().filter(|(a, _)| *a == axis).count();
        assert_eq!([pairs(0), pairs(1), pairs(2)], [22, 21, 21]);
    }

    #[test]
    fn six_sources_share_the_trained_range() {
        let ids = source_ids(6, 5, true);
        assert_eq!(ids[0], 1.0);
        assert_eq!(ids[5], 5.0);
        assert!((ids[1] - 1.8).abs() < 1e-15);
        assert_eq!(source_ids(6, 5, false)[5], 6.0);
        assert_eq!(source_ids(3, 5, true), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn rows_can_be_chosen() {
        let rope = Rope::new(&[(Grid { t: 1, h: 1, w: 3 }, 0.0)], 20);
        let chosen = rope.select(&[2, 0]);
        assert_eq!(chosen.sin.row(0), rope.sin.row(2));
        assert_eq!(chosen.cos.row(1), rope.cos.row(0));
    }

    #[test]
    fn positions_restart_in_every_segment() {
        let grid = Grid { t: 2, h: 1, w: 3 };
        let rope = Rope::new(&[(grid, 0.0), (grid, 0.0)], 20);
        let n = grid.tokens();
        assert_eq!(rope.cos.row(4), rope.cos.row(n + 4));
        let shifted = Rope::new(&[(grid, 0.0), (grid, 1.0)], 20);
        assert_ne!(shifted.cos.row(4), shifted.cos.row(n + 4));
    }
}
