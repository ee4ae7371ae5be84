//! Latents and their token form (spec B.3, B.10).

use ndarray::{Array2, Array4, ArrayView2};
use rayon::prelude::*;

/// A token grid: latent frames, and latent height and width over the 2×2 patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Latent frames.
    pub t: usize,
    /// Rows of tokens.
    pub h: usize,
    /// Columns of tokens.
    pub w: usize,
}

impl Grid {
    /// The grid of latents `[channels, t, 2h, 2w]`.
    pub fn of(latents: &Array4<f32>) -> Self {
        let (_, t, h, w) = latents.dim();
        Self { t, h: h / 2, w: w / 2 }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.t * self.h * self.w
    }

    /// `[t, h, w]` of every token, w fastest.
    pub fn positions(self) -> impl Iterator<Item = [usize; 3]> {
        (0..self.t)
            .flat_map(move |t| (0..self.h).flat_map(move |h| (0..self.w).map(move |w| [t, h, w])))
    }
}

/// `[channels, t, 2h, 2w]` to tokens `[t·h·w, 4·channels]` with inner order (ph, pw, c).
pub fn pack(latents: &Array4<f32>) -> Array2<f32> {
    let (c, grid) = (latents.dim().0, Grid::of(latents));
    let mut tokens = vec![0.0; grid.tokens() * 4 * c];
    pack_into(latents, &mut tokens);
    Array2::from_shape_vec((grid.tokens(), 4 * c), tokens)
        .expect("invariant: as many values as elements")
}

/// [`pack`] into the memory of `tokens`, one row of tokens after the other.
pub(crate) fn pack_into(latents: &Array4<f32>, tokens: &mut [f32]) {
    let (c, grid) = (latents.dim().0, Grid::of(latents));
    let latents = latents.as_standard_layout();
    let values = latents.as_slice().expect("invariant: standard layout");
    let plane = 4 * grid.h * grid.w;
    let rows = tokens.par_chunks_mut((grid.w * 4 * c).max(1)).enumerate();
    rows.for_each(|(row, tokens)| {
        let (t, h) = (row / grid.h, row % grid.h);
        for (channel, ph) in (0..c).flat_map(|channel| [(channel, 0), (channel, 1)]) {
            let start = (channel * grid.t + t) * plane + (2 * h + ph) * 2 * grid.w;
            let pairs = values[start..start + 2 * grid.w].chunks_exact(2);
            for (token, pair) in tokens.chunks_exact_mut(4 * c).zip(pairs) {
                token[2 * ph * c + channel] = pair[0];
                token[(2 * ph + 1) * c + channel] = pair[1];
            }
        }
    });
}

/// The inverse of [`pack`].
pub fn unpack(tokens: ArrayView2<'_, f32>, grid: Grid) -> Array4<f32> {
    let c = tokens.ncols() / 4;
    let tokens = tokens.as_standard_layout();
    let tokens = tokens.as_slice().expect("invariant: standard layout");
    let plane = 4 * grid.h * grid.w;
    let mut latents = vec![0.0; c * grid.t * plane];
    latents.par_chunks_mut(plane.max(1)).enumerate().for_each(|(index, plane)| {
        let (channel, t) = (index / grid.t, index % grid.t);
        for (row, values) in plane.chunks_exact_mut(2 * grid.w).enumerate() {
            let (h, ph) = (row / 2, row % 2);
            let first = (t * grid.h + h) * grid.w * 4 * c;
            let tokens = tokens[first..first + grid.w * 4 * c].chunks_exact(4 * c);
            for (pair, token) in values.chunks_exact_mut(2).zip(tokens) {
                pair[0] = token[2 * ph * c + channel];
                pair[1] = token[(2 * ph + 1) * c + channel];
            }
        }
    });
    Array4::from_shape_vec((c, grid.t, 2 * grid.h, 2 * grid.w), latents)
        .expect("invariant: as many values as elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_undoes_pack_and_channels_are_fastest() {
        let latents = Array4::from_shape_fn((3, 2, 4, 6), |(c, t, h, w)| {
            (c * 1000 + t * 100 + h * 10 + w) as f32
        });
        let tokens = pack(&latents);
        assert_eq!(tokens.dim(), (12, 12));
        // Second token of the second frame: rows 0..2, columns 2..4.
        let first_row = [102.0, 1102.0, 2102.0, 103.0, 1103.0, 2103.0];
        assert_eq!(tokens.row(7).as_slice().unwrap()[..6], first_row);
        assert_eq!(unpack(tokens.view(), Grid::of(&latents)), latents);
    }
}
