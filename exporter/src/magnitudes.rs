//! Largest magnitudes of a matrix, which calibration wants beside those of activations.

use bernini_graphs::{Layout, Magnitudes};

use crate::cast::bytes_of;
use crate::rearrange::rearrange;

/// The largest magnitudes along one side of a matrix that is read piece by piece.
pub struct Largest {
    side: Magnitudes,
    columns: usize,
    /// Bits of f32 without the sign: they order as the values do, and a NaN is above all.
    found: Vec<u32>,
}

impl Largest {
    /// Of a matrix `[rows, columns]` of which nothing was read yet.
    pub fn new(side: Magnitudes, [rows, columns]: [usize; 2]) -> Self {
        let count = match side {
            Magnitudes::Rows => rows,
            Magnitudes::Columns => columns,
        };
        Self { side, columns, found: vec![0; count] }
    }

    /// Takes in consecutive elements from number `start` on.
    pub fn add(&mut self, mut start: usize, mut values: &[f32]) {
        let bits = |value: &f32| value.abs().to_bits();
        while !values.is_empty() {
            let (row, column) = (start / self.columns, start % self.columns);
            let (own, rest) = values.split_at(values.len().min(self.columns - column));
            match self.side {
                Magnitudes::Rows => {
                    let largest = own.iter().map(bits).max().unwrap_or(0);
                    self.found[row] = self.found[row].max(largest);
                }
                Magnitudes::Columns => {
                    let places = self.found[column..].iter_mut().zip(own);
                    places.for_each(|(place, value)| *place = (*place).max(bits(value)));
                }
            }
            (start, values) = (start + own.len(), rest);
        }
    }

    /// Of what either has read.
    pub fn or(mut self, other: Self) -> Self {
        self.found.iter_mut().zip(other.found).for_each(|(a, b)| *a = (*a).max(b));
        self
    }

    /// Little-endian f32 in the order that `layout`, which moves rows, gives the matrix.
    pub fn bytes(self, layout: Layout) -> Vec<u8> {
        let shape = [self.found.len()];
        let bytes = bytes_of(self.found.into_iter().map(f32::from_bits), f32::to_le_bytes);
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
        let read = |start, values: &[f32]| {
            let mut largest = Largest::new(side, [4, 3]);
            largest.add(start, values);
            largest
        };
        let largest = read(0, &values[..5]).or(read(5, &values[5..]));
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
