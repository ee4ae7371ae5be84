//! Positions of the language model's tokens in time, height and width (spec D.4).

use std::iter::repeat_n;

use ndarray::Array2;

use super::stream::{TokenStream, VisualBlock, VisualKind};
use crate::rope::Rope;

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

/// Inverse frequencies `theta^(-2k/dim)`, k in 0..dim/2.
pub(super) fn frequencies(theta: f64, dim: usize) -> Vec<f64> {
    (0..dim / 2).map(|k| theta.powf(-2.0 * k as f64 / dim as f64)).collect()
}

/// M-RoPE of the tokens at `positions`, for rotate-half attention: of the `head_dim / 2` frequencies the first
/// `mrope_section[0]` turn with time, the next with height, the last with width.
pub fn mrope(
    positions: &[[usize; 3]],
    head_dim: usize,
    rope_theta: f64,
    mrope_section: [usize; 3],
) -> Rope {
    let axes = mrope_section.iter().enumerate().flat_map(|(axis, &n)| repeat_n(axis, n));
    let axes: Vec<usize> = axes.chain(repeat_n(2, head_dim)).take(head_dim / 2).collect();
    let frequencies = frequencies(rope_theta, head_dim);
    Rope::from_angles(&Array2::from_shape_fn((positions.len(), head_dim / 2), |(token, k)| {
        positions[token][axes[k]] as f64 * frequencies[k]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_turn_with_their_axis() {
        let rope = mrope(&[[5, 7, 11], [0, 0, 0]], 12, 100.0, [1, 2, 3]);
        assert_eq!(rope.cos.dim(), (2, 6));
        for (k, position) in [5.0, 7.0, 7.0, 11.0, 11.0, 11.0].into_iter().enumerate() {
            let angle: f64 = position * 100f64.powf(-(k as f64) / 6.0);
            assert_eq!(rope.cos[[0, k]], angle.cos() as f32);
            assert_eq!(rope.sin[[0, k]], angle.sin() as f32);
        }
        assert!(rope.cos.row(1).iter().all(|cos| *cos == 1.0));
    }
}
