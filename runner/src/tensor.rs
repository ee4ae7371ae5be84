//! What goes into a submodule and what comes out.

use std::ops::Range;

use bernini_graphs::DType;
use bernini_tensorrt::Error;
use ndarray::{Array2, ArrayD, Axis, IxDyn};

use crate::device::DeviceTensor;

/// A dense tensor in C order.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// Single precision, in host memory.
    F32(ArrayD<f32>),
    /// Ids and indices, in host memory.
    I64(ArrayD<i64>),
    /// Any type, in GPU memory.
    Device(DeviceTensor),
}

impl Tensor {
    /// Size of each axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::I64(array) => array.shape(),
            Self::Device(tensor) => tensor.shape(),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I64(_) => DType::I64,
            Self::Device(tensor) => tensor.dtype(),
        }
    }

    /// Zeros in f32.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::F32(ArrayD::zeros(IxDyn(shape)))
    }

    /// The same in host memory, where bf16 is f32.
    pub(crate) fn into_host(self) -> Result<Self, Error> {
        match self {
            Self::Device(tensor) => tensor.download(),
            host => Ok(host),
        }
    }

    /// The entries `indices` of axis `axis` of a tensor on the host; all of them of any.
    ///
    /// # Panics
    /// If some entries are asked for of a tensor in GPU memory, where they need memory, too.
    pub(crate) fn select(&self, axis: usize, indices: &[usize]) -> Self {
        match self {
            _ if self.is_whole(axis, indices) => self.clone(),
            Self::F32(array) => Self::from(array.select(Axis(axis), indices)),
            Self::I64(array) => Self::from(array.select(Axis(axis), indices)),
            Self::Device(_) => panic!("invariant: on the host"),
        }
    }

    /// Whether `indices` are all entries of axis `axis` in order.
    pub(crate) fn is_whole(&self, axis: usize, indices: &[usize]) -> bool {
        indices.iter().copied().eq(0..self.shape()[axis])
    }

    /// Rows over all axes but the last, and their width.
    fn matrix(&self) -> [usize; 2] {
        let (width, rows) = self.shape().split_last().unwrap_or((&1, &[]));
        [rows.iter().product(), *width]
    }

    /// The first `count` rows of a float tensor, counted over all axes but the last, in host memory.
    /// `None` where there are fewer, or ids.
    pub(crate) fn first_rows(&self, count: usize) -> Result<Option<Array2<f32>>, Error> {
        let [rows, width] = self.matrix();
        let values = match self {
            _ if rows < count => return Ok(None),
            Self::F32(array) => array.iter().take(count * width).copied().collect(),
            Self::Device(tensor) if tensor.dtype().is_float() => {
                tensor.download_f32(count * width)?
            }
            _ => return Ok(None),
        };
        Ok(Array2::from_shape_vec((count, width), values).ok())
    }

    /// Overwrites the rows from `to` on with the rows `rows` of `other`, where this tensor lies; rows
    /// are counted over all axes but the last.
    ///
    /// # Panics
    /// If a row is outside, the widths differ, one is not f32, or only `other` is in GPU memory.
    pub(crate) fn copy_rows(
        &mut self,
        to: usize,
        other: &Self,
        rows: Range<usize>,
    ) -> Result<(), Error> {
        let ([count, width], [own_count, own_width]) = (other.matrix(), self.matrix());
        assert_eq!(own_width, width, "invariant: equal widths");
        assert!(rows.end <= count && to + rows.len() <= own_count, "invariant: rows inside");
        let (to, from) = (to * width, rows.start * width..rows.end * width);
        let in_order = "invariant: in C order";
        match (self, other) {
            (Self::F32(target), Self::F32(source)) => {
                let source = &source.as_slice().expect(in_order)[from];
                let target = target.as_slice_mut().expect(in_order);
                target[to..to + source.len()].copy_from_slice(source);
                Ok(())
            }
            (Self::Device(target), Self::F32(source)) => {
                target.write(to, &source.as_slice().expect(in_order)[from])
            }
            (Self::Device(target), Self::Device(source)) => target.copy(to, source, from),
            _ => panic!("invariant: f32 tensors, none on the host that copies from the GPU"),
        }
    }
}

impl<D: ndarray::Dimension> From<ndarray::Array<f32, D>> for Tensor {
    fn from(array: ndarray::Array<f32, D>) -> Self {
        let standard = array.is_standard_layout();
        let array = if standard { array } else { array.as_standard_layout().into_owned() };
        Self::F32(array.into_dyn())
    }
}

impl<D: ndarray::Dimension> From<ndarray::Array<i64, D>> for Tensor {
    fn from(array: ndarray::Array<i64, D>) -> Self {
        let standard = array.is_standard_layout();
        let array = if standard { array } else { array.as_standard_layout().into_owned() };
        Self::I64(array.into_dyn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_takes_entries_of_an_axis_in_the_order_asked_for() {
        let shape = IxDyn(&[2, 3, 5]);
        let array = ArrayD::from_shape_fn(shape, |i| (i[0] * 100 + i[1] * 10 + i[2]) as f32);
        let tensor = Tensor::from(array);
        let Tensor::F32(chosen) = tensor.select(1, &[2, 0]) else { panic!("on the host") };
        assert_eq!(chosen.shape(), [2, 2, 5]);
        assert!(chosen.is_standard_layout(), "backends read tensors in C order");
        assert_eq!([chosen[[0, 0, 4]], chosen[[1, 1, 3]]], [24.0, 103.0]);
        assert_eq!(tensor.select(1, &[0, 1, 2]), tensor);
    }

    #[test]
    fn rows_are_counted_over_all_axes_but_the_last() {
        let mut tensor = Tensor::zeros(&[2, 3, 2]);
        let rows = ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).into();
        tensor.copy_rows(2, &rows, 1..3).unwrap();
        let zero = [0.0, 0.0];
        let expected = [[zero, zero, [3.0, 4.0]], [[5.0, 6.0], zero, zero]];
        assert_eq!(tensor, Tensor::from(ndarray::arr3(&expected)));
    }
}
