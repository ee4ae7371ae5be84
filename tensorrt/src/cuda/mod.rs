//! The GPU itself, through the CUDA driver: device, streams, events and memory.
//!
//! Everything lives in the device's primary context, which TensorRT uses too; each call makes it
//! current on the calling thread.

mod device;
mod graph;
mod host;
mod memory;
mod primary;
mod stream;

pub use device::{Device, Memory};
pub(crate) use graph::Graph;
pub use host::HostBuffer;
pub use memory::Buffer;
pub(crate) use primary::require_driver;
pub use stream::{Event, Stream};
