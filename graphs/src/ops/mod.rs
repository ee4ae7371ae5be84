//! The dialect's operations, one function each: shape rule and node.

mod conv;
mod fp8;
mod math;
mod shape;
mod statistics;

pub use conv::Conv3d;
pub(crate) use conv::ones;
pub use fp8::FP8_HEAD_DIM;
pub(crate) use fp8::{E4M3_MAX, FP8_ATTENTION, Fp8Attention};
pub use shape::{concat, zeros};
