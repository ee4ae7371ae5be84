//! Latents and their token form (spec B.3, B.10).

use ndarray::{Array2, Array4, ArrayView2};

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
    let mut tokens = Array2::zeros((grid.tokens(), 4 * c));
    for (mut token, [t, h, w]) in tokens.rows_mut().into_iter().zip(grid.positions()) {
        for (i, value) in token.iter_mut().enumerate() {
            let (patch, channel) = (i / c, i % c);
            *value = latents[[channel, t, 2 * h + patch / 2, 2 * w + patch % 2]];
        }
    }
    tokens
}

/// The inverse of [`pack`].
pub fn unpack(tokens: ArrayView2<'_, f32>, grid: Grid) -> Array4<f32> {
    let c = tokens.ncols() / 4;
    let mut latents = Array4::zeros((c, grid.t, 2 * grid.h, 2 * grid.w));
    for (token, [t, h, w]) in tokens.rows().into_iter().zip(grid.positions()) {
        for (i, value) in token.iter().enumerate() {
            let (patch, channel) = (i / c, i % c);
            latents[[channel, t, 2 * h + patch / 2, 2 * w + patch % 2]] = *value;
        }
    }
    latents
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
