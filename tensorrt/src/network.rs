//! Networks parsed from ONNX.

use std::{
    path::{self, Path},
    rc::Rc,
};

use crate::{
    Error, TensorInfo,
    builder::Owner,
    result::{Handle, c_index, c_name, describe},
    sys,
};

/// A network and the parser that holds its weights in host memory.
pub struct Network {
    // They point to the network, which points to weights that they hold.
    parsers: Vec<Handle<sys::Parser>>,
    handle: Handle<sys::Network>,
    builder: Rc<Owner>,
}

impl Network {
    pub(crate) fn new(builder: &Rc<Owner>) -> Result<Self, Error> {
        let handle = builder.tensorrt.call("create a network", |shim, error| {
            // SAFETY: the builder is alive, and kept so by the network; the result is ours.
            unsafe {
                let network = (shim.network_create)(builder.handle.get(), error);
                Handle::new(network, shim.network_destroy)
            }
        })?;
        Ok(Self { parsers: Vec::new(), handle, builder: builder.clone() })
    }

    /// Parses an ONNX model; `path` is where it lies (or would lie), beside its external data.
    /// Errors carry the parser's messages with the names of the nodes. TensorRT refuses a second
    /// model.
    pub fn parse(&mut self, onnx: &[u8], path: &Path) -> Result<(), Error> {
        let path = path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let what = "a path that is not UTF-8";
        let text = path.to_str();
        let text =
            text.ok_or_else(|| Error::Argument { what, value: path.display().to_string() })?;
        let (path, parser) = (c_name(text)?, self.create_parser()?);
        let parsed = self.builder.tensorrt.call("parse an ONNX model", |shim, error| {
            // SAFETY: bytes and path live during the call; the parser copies what it keeps.
            let parsed = unsafe {
                let onnx_bytes = onnx.as_ptr().cast();
                (shim.parser_parse)(parser.get(), onnx_bytes, onnx.len(), path.as_ptr(), error)
            };
            parsed.then_some(())
        });
        self.parsers.push(parser);
        parsed?;
        [true, false].into_iter().try_for_each(|input| self.tensors(input).map(|_| ()))
    }

    fn create_parser(&self) -> Result<Handle<sys::Parser>, Error> {
        let tensorrt = &self.builder.tensorrt;
        tensorrt.call("create an ONNX parser", |shim, error| {
            // SAFETY: network and logger are alive, and outlive the parser; the result is ours.
            unsafe {
                let (entry, logger) = (tensorrt.entries().parser, tensorrt.logger());
                let parser = (shim.parser_create)(entry, self.get(), logger, error);
                Handle::new(parser, shim.parser_destroy)
            }
        })
    }

    /// Inputs in the graph's order.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        self.tensors(true).unwrap_or_default()
    }

    /// Outputs in the graph's order.
    pub fn outputs(&self) -> Vec<TensorInfo> {
        self.tensors(false).unwrap_or_default()
    }

    /// Fails only on a type that `parse` has refused.
    fn tensors(&self, input: bool) -> Result<Vec<TensorInfo>, Error> {
        let shim = self.builder.tensorrt.shim();
        // SAFETY: the network is alive.
        let count = unsafe { (shim.network_tensor_count)(self.get(), input) };
        let tensor = |index| {
            // SAFETY: the network is alive, and so is the name, until the network changes.
            let tensor = unsafe {
                describe(|tensor| (shim.network_tensor)(self.get(), input, index, tensor))
            }?;
            Ok(TensorInfo { name: tensor.name, dtype: tensor.dtype, shape: tensor.shape })
        };
        (0..count).map(tensor).collect()
    }

    /// Replaces the shape of an input: fixed sizes, or -1 for a range that profiles give.
    pub fn set_input_shape(&mut self, name: &str, shape: &[i64]) -> Result<(), Error> {
        let inputs = self.inputs();
        let Some(index) = inputs.iter().position(|input| input.name == name) else {
            let known = inputs.into_iter().map(|input| input.name).collect();
            return Err(Error::UnknownTensor { side: "input", name: name.into(), known });
        };
        let (index, dims) = (c_index(index)?, sys::Dims::new(shape)?);
        self.builder.tensorrt.call("set the shape of a network's input", |shim, _| {
            // SAFETY: the network is alive; the shape is copied.
            unsafe { (shim.network_set_input_shape)(self.get(), index, &dims) }.then_some(())
        })
    }

    /// Number of TensorRT layers.
    pub fn layers(&self) -> usize {
        // SAFETY: the network is alive.
        let count = unsafe { (self.builder.tensorrt.shim().network_layer_count)(self.get()) };
        usize::try_from(count).unwrap_or(0)
    }

    pub(crate) fn builder(&self) -> &Rc<Owner> {
        &self.builder
    }

    pub(crate) fn get(&self) -> *mut sys::Network {
        self.handle.get()
    }
}
