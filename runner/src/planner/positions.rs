//! Positions of the language model's tokens in time, height and width (spec D.4).

use std::iter::repeat_n;

use ndarray::{Array2, Axis, concatenate};

use super::stream::{TokenStream, VisualBlock, VisualKind};

/// (time, height, width) of every token of a stream: text counts up on all three, a visual block
/// spans its grid, a video `tokens_per_second` steps of time per pair of frames.
pub fn positions(stream: &TokenStream, tokens_per_second: usize) -> Vec<[usize; 3]> {
    let mut positions = Vec::with_capacity(stream.len());
    let mut next = 0;
    for block in stream.sources.iter().chain([&stream.target]) {
        push_text(&mut positions, &mut next, block.start);
        push_visual(&mut positions, &mut next, block, tokens_per_second);
    }
    push_text(&mut positions, &mut next, stream.len());
    positions
}

/// Text up to the index `end`.
fn push_text(positions: &mut Vec<[usize; 3]>, next: &mut usize, end: usize) {
    let n = end - positions.len();
    positions.extend((*next..*next + n).map(|position| [position; 3]));
    *next += n;
}

fn push_visual(
    positions: &mut Vec<[usize; 3]>,
    next: &mut usize,
    block: &VisualBlock,
    tokens_per_second: usize,
) {
    let time_step = match block.visual.kind {
        VisualKind::Image => 0,
        VisualKind::Video => tokens_per_second,
    };
    let start = *next;
    for [t, h, w] in block.visual.grid.positions() {
        let position = [start + t * time_step, start + h, start + w];
        *next = position.into_iter().fold(*next, |next, axis| next.max(axis + 1));
        positions.push(position);
    }
}

/// Cosines and sines for rotate-half attention, `[tokens, head_dim]` each, both halves alike.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryTable {
    /// Cosines.
    pub cos: Array2<f32>,
    /// Sines.
    pub sin: Array2<f32>,
}

impl RotaryTable {
    /// The table of `angles`, `[tokens, head_dim / 2]`.
    pub fn new(angles: &Array2<f64>) -> Self {
        let doubled = concatenate(Axis(1), &[angles.view(), angles.view()])
            .expect("invariant: an array joins itself");
        let cos = doubled.mapv(|angle| angle.cos() as f32);
        Self { cos, sin: doubled.mapv(|angle| angle.sin() as f32) }
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

/// Inverse frequencies `theta^(-2k/dim)`, k in 0..dim/2.
pub(super) fn frequencies(theta: f64, dim: usize) -> Vec<f64> {
    (0..dim / 2).map(|k| theta.powf(-2.0 * k as f64 / dim as f64)).collect()
}

/// M-RoPE of the tokens at `positions`: of the `head_dim / 2` frequencies the first
/// `mrope_section[0]` turn with time, the next with height, the last with width.
pub fn mrope(
    positions: &[[usize; 3]],
    head_dim: usize,
    rope_theta: f64,
    mrope_section: [usize; 3],
) -> RotaryTable {
    let axes = mrope_section.iter().enumerate().flat_map(|(axis, &n)| repeat_n(axis, n));
    let axes: Vec<usize> = axes.chain(repeat_n(2, head_dim)).take(head_dim / 2).collect();
    let frequencies = frequencies(rope_theta, head_dim);
    RotaryTable::new(&Array2::from_shape_fn((positions.len(), head_dim / 2), |(token, k)| {
        positions[token][axes[k]] as f64 * frequencies[k]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_turn_with_their_axis_and_both_halves_agree() {
        let table = mrope(&[[5, 7, 11], [0, 0, 0]], 12, 100.0, [1, 2, 3]);
        assert_eq!(table.cos.dim(), (2, 12));
        for (k, position) in [5.0, 7.0, 7.0, 11.0, 11.0, 11.0].into_iter().enumerate() {
            let angle: f64 = position * 100f64.powf(-(k as f64) / 6.0);
            assert_eq!(table.cos[[0, k]], angle.cos() as f32);
            assert_eq!(table.sin[[0, k + 6]], angle.sin() as f32);
        }
        assert!(table.cos.row(1).iter().all(|cos| *cos == 1.0));
    }

    #[test]
    fn rows_can_be_chosen() {
        let table = mrope(&[[1, 1, 1], [2, 2, 2], [3, 3, 3]], 8, 1e6, [1, 1, 2]);
        let chosen = table.select(&[2, 0]);
        assert_eq!(chosen.sin.row(0), table.sin.row(2));
        assert_eq!(chosen.cos.row(1), table.cos.row(0));
    }
}
