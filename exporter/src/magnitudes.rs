//! Largest magnitudes of a matrix, which calibration wants beside those of activations.

use bernini_graphs::{Layout, Magnitudes};

use crate::cast::bytes_of;
use crate::rearrange::rearrange;

/// The largest magnitudes along one side of a matrix that is read piece by piece.
pub struct Largest {
    side: Magnitudes,
    columns: usize,
    found: Vec<f32>,
}

impl Largest {
    /// Of a matrix `[rows, columns]` of which nothing was read yet.
    pub fn new(side: Magnitudes, [rows, columns]: [usize; 2]) -> Self {
        let count = match side {
            Magnitudes::Rows => rows,
            Magnitudes::Columns => columns,
        };
        Self { side, columns, found: vec![0.0; count] }
    }

    /// Takes in consecutive elements from number `start` on.
    pub fn add(&mut self, start: usize, values: &[f32]) {
        for (i, value) in (start..).zip(values) {
            let largest = match self.side {
                Magnitudes::Rows => &mut self.found[i / self.columns],
                Magnitudes::Columns => &mut self.found[i % self.columns],
            };
            // A NaN is to be found, so it counts as larger than all.
            if value.is_nan() || value.abs() > *largest {
                *largest = value.abs();
            }
        }
    }

    /// Little-endian f32 in the order that `layout`, which moves rows, gives the matrix.
    pub fn bytes(self, layout: Layout) -> Vec<u8> {
        let shape = [self.found.len()];
        let bytes = bytes_of(self.found.into_iter(), f32::to_le_bytes);
        match self.side {
            Magnitudes::Rows => rearrange(bytes, size_of::<f32>(), layout, &shape),
            Magnitudes::Columns => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a matrix of four rows and three columns, in two pieces that end within a row.
    fn largest(side: Magnitudes, layout: Layout, values: [f32; 12]) -> Vec<f32> {
        let mut largest = Largest::new(side, [4, 3]);
        largest.add(0, &values[..5]);
        largest.add(5, &values[5..]);
        largest.bytes(layout).as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    const VALUES: [f32; 12] = [1., -2., 0., 3., 0., -1., 0., 0., 0.5, -7., 6., 5.];

    #[test]
    fn rows_and_columns_are_measured_across_pieces() {
        assert_eq!(largest(Magnitudes::Rows, Layout::AsIs, VALUES), [2., 3., 0.5, 7.]);
        assert_eq!(largest(Magnitudes::Columns, Layout::AsIs, VALUES), [7., 6., 5.]);
    }

    #[test]
    fn a_layout_moves_rows_and_no_columns() {
        let halves = Layout::RotateHalf { head_dim: 4 };
        assert_eq!(largest(Magnitudes::Rows, halves, VALUES), [2., 0.5, 3., 7.]);
        assert_eq!(largest(Magnitudes::Columns, halves, VALUES), [7., 6., 5.]);
    }

    #[test]
    fn what_is_not_a_number_stays() {
        let mut values = VALUES;
        values[3] = f32::NAN;
        let rows = largest(Magnitudes::Rows, Layout::AsIs, values);
        assert!(rows[1].is_nan() && rows[0] == 2.0, "{rows:?}");
    }
}
