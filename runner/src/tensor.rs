//! What goes into a submodule and what comes out.

use bernini_graphs::DType;
use ndarray::{ArrayD, IxDyn};

/// A dense tensor in host memory, in C order.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// Single precision.
    F32(ArrayD<f32>),
    /// Ids and indices.
    I64(ArrayD<i64>),
}

impl Tensor {
    /// Size of each axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::I64(array) => array.shape(),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I64(_) => DType::I64,
        }
    }

    /// Zeros in f32.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::F32(ArrayD::zeros(IxDyn(shape)))
    }
}

impl<D: ndarray::Dimension> From<ndarray::Array<f32, D>> for Tensor {
    fn from(array: ndarray::Array<f32, D>) -> Self {
        Self::F32(array.as_standard_layout().into_owned().into_dyn())
    }
}

impl<D: ndarray::Dimension> From<ndarray::Array<i64, D>> for Tensor {
    fn from(array: ndarray::Array<i64, D>) -> Self {
        Self::I64(array.as_standard_layout().into_owned().into_dyn())
    }
}
