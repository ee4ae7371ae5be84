//! What the vision tower takes beside patches (spec D.6): rotary angles and windows.
//!
//! Patches stay in the processor's order (t, rows of 28 pixels, columns of 28 pixels, 2, 2)
//! throughout. The reference sorts them by window and undoes that at the end; here the window
//! blocks gather each window's patches and scatter the result back, which is the same, since
//! attention does not depend on the order of keys.

use ndarray::{Array1, Array2, Array4};

use super::mask::MASKED;
use super::positions::frequencies;
use crate::latents::Grid;
use crate::rope::Rope;

/// Patches along a side of a merged token.
const MERGE: usize = 2;
/// Pixels along a side of a merged token.
const MERGED_PIXELS: usize = 28;
const ROPE_THETA: f64 = 10_000.0;

/// Inputs of the vision graph that depend on the grid alone. P patches, W windows of up to S
/// patches each.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionIndex {
    /// `[P, head_dim / 2]`: the first half of the angles turns with the patch's row, the second
    /// with its column.
    pub rope: Rope,
    /// `[W, S]`: the patch in every slot of every window; 0 in slots that stay empty.
    pub window_gather: Array2<i64>,
    /// `[P]`: the slot of every patch, counted over all windows.
    pub window_scatter: Array1<i64>,
    /// `[W, 1, 1, S]`: 0 where a slot holds a patch, else [`MASKED`].
    pub window_bias: Array4<f32>,
}

impl VisionIndex {
    /// For one image or clip of merged `grid`; `window_size` in pixels (112), a multiple of 28.
    pub fn new(grid: Grid, head_dim: usize, window_size: usize) -> Self {
        let side = (window_size / MERGED_PIXELS).max(1);
        let slots = (side * MERGE).pow(2);
        let windows = windows(grid, side);
        let mut gather = Array2::zeros((windows.len(), slots));
        let mut scatter = Array1::zeros(grid.tokens() * MERGE * MERGE);
        let mut bias = Array4::from_elem((windows.len(), 1, 1, slots), MASKED);
        for (window, patches) in windows.iter().enumerate() {
            for (slot, &patch) in patches.iter().enumerate() {
                gather[[window, slot]] = patch as i64;
                scatter[patch] = (window * slots + slot) as i64;
                bias[[window, 0, 0, slot]] = 0.0;
            }
        }
        let rope = rope(grid, head_dim);
        Self { rope, window_gather: gather, window_scatter: scatter, window_bias: bias }
    }
}

/// Patches of each window of `side` × `side` merged tokens; those at the edges are smaller.
fn windows(grid: Grid, side: usize) -> Vec<Vec<usize>> {
    let (rows, columns) = (grid.h.div_ceil(side), grid.w.div_ceil(side));
    let mut windows = vec![vec![]; grid.t * rows * columns];
    for (token, [t, h, w]) in grid.positions().enumerate() {
        let window = (t * rows + h / side) * columns + w / side;
        windows[window].extend((0..MERGE * MERGE).map(|i| token * MERGE * MERGE + i));
    }
    windows
}

fn rope(grid: Grid, head_dim: usize) -> Rope {
    let frequencies = frequencies(ROPE_THETA, head_dim / 2);
    let n = frequencies.len();
    let patches = grid.positions().flat_map(|[_, h, w]| {
        (0..MERGE * MERGE).map(move |i| [MERGE * h + i / MERGE, MERGE * w + i % MERGE])
    });
    let positions: Vec<[usize; 2]> = patches.collect();
    Rope::from_angles(&Array2::from_shape_fn((positions.len(), 2 * n), |(patch, k)| {
        positions[patch][k / n] as f64 * frequencies[k % n]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_sizes(index: &VisionIndex) -> Vec<usize> {
        let windows = index.window_bias.outer_iter();
        windows.map(|window| window.iter().filter(|bias| **bias == 0.0).count()).collect()
    }

    /// Differences of `cu_window_seqlens` of transformers 4.57.3, repeats dropped.
    #[test]
    fn windows_are_those_of_transformers() {
        let sizes = |t, h, w, size| window_sizes(&VisionIndex::new(Grid { t, h, w }, 8, size));
        assert_eq!(sizes(1, 6, 10, 112), [64, 64, 32, 32, 32, 16]);
        assert_eq!(sizes(2, 4, 4, 112), [64, 64]);
        assert_eq!(sizes(2, 1, 5, 112), [16, 4, 16, 4]);
        assert_eq!(sizes(1, 3, 2, 28), [4; 6]);
        assert_eq!(sizes(1, 5, 3, 56), [16, 8, 16, 8, 8, 4]);
    }

    /// `window_index` of transformers 4.57.3 for the patch grid (1, 4, 10), in merged tokens.
    #[test]
    fn a_window_holds_its_neighbours_in_order() {
        let index = VisionIndex::new(Grid { t: 1, h: 2, w: 5 }, 8, 112);
        let held: Vec<i64> = index
            .window_gather
            .iter()
            .zip(&index.window_bias)
            .filter(|(_, bias)| **bias == 0.0)
            .map(|(patch, _)| *patch)
            .collect();
        let merged = [0, 1, 2, 3, 5, 6, 7, 8, 4, 9];
        let expected: Vec<i64> =
            merged.iter().flat_map(|m| (0..4).map(move |i| 4 * m + i)).collect();
        assert_eq!(held, expected);
    }

    #[test]
    fn scatter_undoes_gather() {
        for (t, h, w) in [(1, 1, 1), (3, 5, 7), (2, 4, 9), (1, 6, 10)] {
            let index = VisionIndex::new(Grid { t, h, w }, 8, 112);
            assert_eq!(index.window_scatter.len(), 4 * t * h * w);
            for (patch, slot) in index.window_scatter.iter().enumerate() {
                assert_eq!(index.window_gather.as_slice().unwrap()[*slot as usize], patch as i64);
            }
            assert_eq!(window_sizes(&index).iter().sum::<usize>(), 4 * t * h * w);
        }
    }

    #[test]
    fn rows_turn_the_first_half_and_columns_the_second() {
        let index = VisionIndex::new(Grid { t: 2, h: 1, w: 2 }, 8, 112);
        let angle = |row: f64, column: f64| [row, row * 0.01, column, column * 0.01];
        // Patches of the second merged token: (0, 2), (0, 3), (1, 2), (1, 3).
        for (patch, angles) in [(4, angle(0., 2.)), (7, angle(1., 3.)), (14, angle(1., 2.))] {
            for (k, angle) in angles.into_iter().enumerate() {
                assert_eq!(index.rope.cos[[patch, k]], angle.cos() as f32);
                assert_eq!(index.rope.sin[[patch, k]], angle.sin() as f32);
            }
        }
    }
}
