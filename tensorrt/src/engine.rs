//! Loaded engines.

use std::sync::Arc;

use crate::{
    Context, EngineTensor, Error, TensorRt,
    result::{Handle, c_index, c_name, describe, sink},
    runtime::Owner,
    sys,
};

/// An engine on the GPU. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Loaded>);

struct Loaded {
    handle: Handle<sys::Engine>,
    tensors: Vec<EngineTensor>,
    runtime: Arc<Owner>,
}

// SAFETY: TensorRT's objects belong to no thread: "accesses to an object from different threads must
// be serialized by the client" (NVIDIA, How TensorRT Works, Threading); moving serialises them.
unsafe impl Send for Loaded {}
// SAFETY: the same page lists as thread-safe: non-modifying operations on an engine, and creating
// an execution context from one. Nothing else is done through a shared engine.
unsafe impl Sync for Loaded {}

impl Engine {
    pub(crate) fn new(handle: Handle<sys::Engine>, runtime: Arc<Owner>) -> Result<Self, Error> {
        let shim = runtime.tensorrt.shim();
        // SAFETY: the engine is alive.
        let count = unsafe { (shim.engine_tensor_count)(handle.get()) };
        let tensor = |index| {
            // SAFETY: the engine and its names are alive.
            let tensor =
                unsafe { describe(|tensor| (shim.engine_tensor)(handle.get(), index, tensor)) }?;
            let (dtype, input, host) = (tensor.dtype, tensor.input, tensor.host);
            Ok(EngineTensor { name: tensor.name, dtype, input, host, shape: tensor.shape })
        };
        let tensors = (0..count).map(tensor).collect::<Result<_, Error>>()?;
        Ok(Self(Arc::new(Loaded { handle, tensors, runtime })))
    }

    /// Inputs and outputs.
    pub fn tensors(&self) -> Vec<EngineTensor> {
        self.0.tensors.clone()
    }

    /// Number of profiles.
    pub fn profiles(&self) -> usize {
        // SAFETY: the engine is alive.
        let count = unsafe { (self.shim().engine_profile_count)(self.get()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Shapes of an input in a profile: `[min, opt, max]`.
    pub fn profile_shape(&self, name: &str, profile: usize) -> Result<[Vec<i64>; 3], Error> {
        let tensors = &self.0.tensors;
        if !tensors.iter().any(|tensor| tensor.input && tensor.name == name) {
            let inputs = tensors.iter().filter(|tensor| tensor.input);
            let known = inputs.map(|tensor| tensor.name.clone()).collect();
            return Err(Error::UnknownTensor { side: "input", name: name.into(), known });
        }
        let (c_name, profile) = (c_name(name)?, c_index(profile)?);
        let bound = |bound| {
            self.tensorrt().call("read a profile: is its index too large?", |shim, _| {
                let mut dims = sys::Dims { rank: -1, ..Default::default() };
                // SAFETY: the engine and the name are alive; `dims` is ours.
                unsafe {
                    let name = c_name.as_ptr();
                    (shim.engine_profile_shape)(self.get(), name, profile, bound, &mut dims);
                };
                dims.shape()
            })
        };
        Ok([bound(sys::MIN)?, bound(sys::OPT)?, bound(sys::MAX)?])
    }

    /// Bytes of activation memory that a context needs in a profile, see [`Context::set_memory`].
    pub fn activation_bytes(&self, profile: usize) -> u64 {
        let profile = i32::try_from(profile).unwrap_or(i32::MAX);
        // SAFETY: the engine is alive; TensorRT answers 0 to an index that is too large.
        let bytes = unsafe { (self.shim().engine_activation_bytes)(self.get(), profile) };
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Number of TensorRT layers after fusion.
    pub fn layer_count(&self) -> usize {
        // SAFETY: the engine is alive.
        let count = unsafe { (self.shim().engine_layer_count)(self.get()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// What each layer became, as TensorRT's JSON; the plan must have been built with
    /// [`crate::Config::set_detailed`] to show more than names.
    pub fn layers(&self) -> Result<String, Error> {
        let mut json = Vec::new();
        self.tensorrt().call("describe an engine's layers", |shim, error| {
            // SAFETY: the engine is alive; both sinks are valid during the call.
            unsafe { (shim.engine_layers)(self.get(), sink(&mut json), error) }.then_some(())
        })?;
        Ok(String::from_utf8_lossy(&json).into_owned())
    }

    /// A context that runs this engine, in profile 0.
    pub fn context(&self) -> Result<Context, Error> {
        Context::new(self)
    }

    pub(crate) fn tensors_ref(&self) -> &[EngineTensor] {
        &self.0.tensors
    }

    pub(crate) fn tensorrt(&self) -> &TensorRt {
        &self.0.runtime.tensorrt
    }

    pub(crate) fn get(&self) -> *mut sys::Engine {
        self.0.handle.get()
    }

    fn shim(&self) -> &'static sys::Shim {
        self.tensorrt().shim()
    }
}
