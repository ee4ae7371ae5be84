//! Networks parsed from ONNX.

use std::path::Path;

use crate::{Error, TensorInfo};

/// A network and the parser that holds its weights in host memory.
pub struct Network(());

impl Network {
    /// Parses an ONNX model; `path` is where it lies (or would lie), beside its external data.
    /// Errors carry the parser's messages with the names of the nodes. Call once.
    pub fn parse(&mut self, onnx: &[u8], path: &Path) -> Result<(), Error> {
        let _ = (onnx, path);
        Err(Error::NotCompiled)
    }

    /// Inputs in the graph's order.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    /// Outputs in the graph's order.
    pub fn outputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    /// Replaces the shape of an input: fixed sizes, or -1 for a range that profiles give.
    pub fn set_input_shape(&mut self, name: &str, shape: &[i64]) -> Result<(), Error> {
        let _ = (name, shape);
        Err(Error::NotCompiled)
    }

    /// Number of TensorRT layers.
    pub fn layers(&self) -> usize {
        0
    }
}
