//! Safe TensorRT for the builder and the runner: engines are built from ONNX graphs, loaded and run.
//!
//! Three levels: `sys` is the C interface of our shim, `result` turns its answers into [`Error`]s,
//! and everything public is safe. Without the feature `shim` the whole interface compiles and
//! [`TensorRt::open`] says that TensorRT was not compiled in.

pub mod cuda;

mod builder;
mod config;
mod context;
mod engine;
mod error;
#[cfg(test)]
mod fake;
mod library;
mod loader;
mod log;
mod network;
mod plan;
mod plugin;
mod profiler;
mod progress;
mod result;
mod runtime;
mod sys;
#[cfg(test)]
mod tests;
mod types;

pub use builder::Builder;
pub use config::Config;
pub use context::Context;
pub use engine::Engine;
pub use error::Error;
pub use library::TensorRt;
pub use loader::restart_with_library_path;
pub use network::Network;
pub use plan::Plan;
pub use plugin::PluginLibrary;
pub use runtime::Runtime;
pub use types::{BuildProgress, DataType, EngineTensor, InputShapes, TensorInfo, Version};
