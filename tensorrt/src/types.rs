//! Plain values that cross the interface: data types, versions, tensor descriptions.

use std::fmt::{self, Display};

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataType {
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// bfloat16.
    Bf16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Boolean, one byte.
    Bool,
    /// 8-bit float, E4M3.
    Fp8,
    /// 4-bit signed integer, two to a byte.
    I4,
    /// 4-bit float, E2M1, two to a byte.
    Fp4,
    /// 8-bit exponent-only float.
    E8m0,
}

impl DataType {
    /// The type of an `nvinfer1::DataType`; `None` for one that is newer than this crate.
    pub(crate) fn from_tensorrt(value: i32) -> Option<Self> {
        use DataType::*;
        let known = [F32, F16, I8, I32, Bool, U8, Fp8, Bf16, I64, I4, Fp4, E8m0];
        known.get(usize::try_from(value).ok()?).copied()
    }

    /// Bits of one element.
    pub fn bits(self) -> u32 {
        match self {
            Self::I64 => 64,
            Self::F32 | Self::I32 => 32,
            Self::F16 | Self::Bf16 => 16,
            Self::I8 | Self::U8 | Self::Bool | Self::Fp8 | Self::E8m0 => 8,
            Self::I4 | Self::Fp4 => 4,
        }
    }

    /// Bytes of a dense tensor of `shape`; `None` if a size is negative or the product overflows.
    pub fn bytes(self, shape: &[i64]) -> Option<u64> {
        let count = shape.iter().try_fold(1u64, |count, &size| {
            u64::try_from(size).ok().and_then(|size| count.checked_mul(size))
        })?;
        count.checked_mul(u64::from(self.bits())).map(|bits| bits.div_ceil(8))
    }
}

/// Version of the TensorRT library that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Major version: the ABI.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Patch version.
    pub patch: u32,
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// An input or output of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the graph.
    pub name: String,
    /// Element type.
    pub dtype: DataType,
    /// Sizes; -1 where a size is not fixed.
    pub shape: Vec<i64>,
}

/// An input or output of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineTensor {
    /// Its name in the graph.
    pub name: String,
    /// Element type.
    pub dtype: DataType,
    /// Whether it is an input.
    pub input: bool,
    /// Whether TensorRT wants it in host memory (shapes computed from data); such a tensor cannot
    /// be bound.
    pub host: bool,
    /// Sizes; -1 where a size is not fixed.
    pub shape: Vec<i64>,
}

/// Range of one input's shape in a profile: three shapes of equal rank, min ≤ opt ≤ max.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputShapes {
    /// Name of the input.
    pub name: String,
    /// Smallest sizes.
    pub min: Vec<i64>,
    /// Sizes to be fastest at.
    pub opt: Vec<i64>,
    /// Largest sizes.
    pub max: Vec<i64>,
}

/// One step of one phase of a build; phases nest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildProgress {
    /// TensorRT's name of the phase.
    pub phase: String,
    /// Steps done: 0 when the phase starts, `steps` when it ends.
    pub step: u32,
    /// Steps of the phase.
    pub steps: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_shapes() {
        assert_eq!(DataType::F32.bytes(&[2, 3, 5]), Some(120));
        assert_eq!(DataType::Bf16.bytes(&[]), Some(2));
        assert_eq!(DataType::I4.bytes(&[3]), Some(2));
        assert_eq!(DataType::I64.bytes(&[7, 0]), Some(0));
        assert_eq!(DataType::F32.bytes(&[2, -1]), None);
        assert_eq!(DataType::F32.bytes(&[i64::MAX, i64::MAX]), None);
        assert_eq!(DataType::F32.bytes(&[i64::MAX]), None);
    }

    #[test]
    fn unknown_types_are_refused() {
        assert_eq!(DataType::from_tensorrt(7), Some(DataType::Bf16));
        assert_eq!(DataType::from_tensorrt(11), Some(DataType::E8m0));
        assert_eq!(DataType::from_tensorrt(12), None);
        assert_eq!(DataType::from_tensorrt(-1), None);
    }
}
