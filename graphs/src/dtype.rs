//! Element types that a graph can hold.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Element type of a value, a weight or a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// Brain float: the upper half of an `F32`.
    Bf16,
    /// FP8 with 4 exponent and 3 mantissa bits, finite only (largest value 448).
    E4m3,
    /// Signed 64-bit integer: ids, indices and shapes.
    I64,
}

impl DType {
    /// Size of one element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
            Self::E4m3 => 1,
            Self::I64 => 8,
        }
    }

    /// `TensorProto.DataType` of the ONNX specification.
    pub fn onnx(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::I64 => 7,
            Self::Bf16 => 16,
            Self::E4m3 => 17,
        }
    }

    /// Whether arithmetic on this type is floating point.
    pub fn is_float(self) -> bool {
        self != Self::I64
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::E4m3 => "e4m3",
            Self::I64 => "i64",
        })
    }
}
