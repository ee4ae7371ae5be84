//! The dialect's operations, one function each: shape rule and node.

mod conv;
mod math;
mod shape;

pub use conv::Conv3d;
pub(crate) use conv::ones;
pub use shape::{concat, zeros};
