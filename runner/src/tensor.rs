//! What goes into a submodule and what comes out.

use bernini_graphs::DType;
use bernini_tensorrt::Error;
use ndarray::{ArrayD, Axis, IxDyn};

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

    /// The entries `indices` of axis `axis`, where the tensor lies.
    pub(crate) fn select(&self, axis: usize, indices: &[usize]) -> Result<Self, Error> {
        Ok(match self {
            _ if self.is_whole(axis, indices) => self.clone(),
            Self::F32(array) => Self::from(array.select(Axis(axis), indices)),
            Self::I64(array) => Self::from(array.select(Axis(axis), indices)),
            Self::Device(tensor) => Self::Device(tensor.select(axis, indices)?),
        })
    }

    /// Whether `indices` are all entries of axis `axis` in order.
    pub(crate) fn is_whole(&self, axis: usize, indices: &[usize]) -> bool {
        indices.iter().copied().eq(0..self.shape()[axis])
    }

    /// Overwrites the rows `indices` of each matrix of an f32 tensor `[matrices, count, width]` with
    /// the first rows of `rows` `[.., width]`, where both lie.
    ///
    /// # Panics
    /// If the sizes do not fit, or not both are f32 in one memory.
    pub(crate) fn set_rows(&mut self, indices: &[usize], rows: &Self) -> Result<(), Error> {
        let &[matrices, count, width] = self.shape() else { panic!("invariant: rank 3") };
        for matrix in 0..matrices {
            for (row, &index) in indices.iter().enumerate() {
                self.copy((matrix * count + index) * width, rows, row * width, width)?;
            }
        }
        Ok(())
    }

    /// Overwrites the values of an f32 tensor with those of another of its shape, where both lie.
    ///
    /// # Panics
    /// If the shapes differ, or not both are f32 in one memory.
    pub(crate) fn assign(&mut self, other: &Self) -> Result<(), Error> {
        assert_eq!(self.shape(), other.shape(), "invariant: equal shapes");
        self.copy(0, other, 0, other.shape().iter().product())
    }

    /// Overwrites `count` values from flat element `to` on with those of `other` from `from` on.
    fn copy(&mut self, to: usize, other: &Self, from: usize, count: usize) -> Result<(), Error> {
        match (self, other) {
            (Self::F32(target), Self::F32(source)) => {
                let target = target.as_slice_mut().expect("invariant: in C order");
                let source = source.as_slice().expect("invariant: in C order");
                target[to..to + count].copy_from_slice(&source[from..from + count]);
                Ok(())
            }
            (Self::Device(target), Self::Device(source)) => target.copy(to, source, from, count),
            _ => panic!("invariant: f32 tensors in one memory"),
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
        let Tensor::F32(chosen) = tensor.select(1, &[2, 0]).unwrap() else { panic!("on the host") };
        assert_eq!(chosen.shape(), [2, 2, 5]);
        assert!(chosen.is_standard_layout(), "backends read tensors in C order");
        assert_eq!([chosen[[0, 0, 4]], chosen[[1, 1, 3]]], [24.0, 103.0]);
        assert_eq!(tensor.select(1, &[0, 1, 2]).unwrap(), tensor);
    }

    #[test]
    fn set_rows_writes_into_every_matrix() {
        let mut tensor = Tensor::zeros(&[2, 3, 2]);
        let rows = ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).into();
        tensor.set_rows(&[2, 0], &rows).unwrap();
        let one = [[3.0, 4.0], [0.0, 0.0], [1.0, 2.0]];
        assert_eq!(tensor, Tensor::from(ndarray::arr3(&[one, one])));
        let zeros = Tensor::zeros(&[2, 3, 2]);
        tensor.assign(&zeros).unwrap();
        assert_eq!(tensor, zeros);
    }
}
