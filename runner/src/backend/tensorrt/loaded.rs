//! A loaded engine with what sessions leave behind for the next one: making a context and its first
//! run take milliseconds to seconds (kernels, cuDNN plans), which a request should pay once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bernini_graphs::{DType, Submodule};
use bernini_tensorrt::Engine;
use bernini_tensorrt::cuda::{Buffer, Stream};

use super::binding::Binding;
use super::pool::Pool;
use super::shared::Shared;
use super::{BackendError, EngineError};
use crate::device::Memory;
use crate::tensor::Tensor;

/// Tensors of other owners up to this size may stay alive for a recorded run.
const SMALL_BYTES: usize = 1 << 20;

/// An engine, a context for each profile that was met, and their buffers.
pub(super) struct Loaded {
    /// By profile: changing the profile of a context would stop the stream.
    bindings: BTreeMap<usize, Binding>,
    pub(super) buffers: Buffers,
    engine: Engine,
    plan_bytes: u64,
}

/// By port: what host inputs are copied to, and what outputs are written to.
pub(super) struct Buffers {
    pools: BTreeMap<String, Pool<Memory>>,
    pub submodule: Submodule,
}

impl Loaded {
    /// `plan_bytes` stand for what the weights take on the GPU.
    pub(super) fn new(submodule: Submodule, engine: Engine, plan_bytes: u64) -> Self {
        let buffers = Buffers { pools: BTreeMap::new(), submodule };
        Self { bindings: BTreeMap::new(), buffers, engine, plan_bytes }
    }

    /// Bytes that unloading frees, where nobody else holds a tensor of it.
    pub(super) fn bytes(&self) -> u64 {
        let buffers: usize = self.buffers.pools.values().map(Pool::bytes).sum();
        self.plan_bytes + buffers as u64
    }

    /// Activation memory that every profile can run with, in bytes.
    pub(super) fn activation_bytes(&self) -> u64 {
        let profiles = 0..self.engine.profiles();
        profiles.map(|profile| self.engine.activation_bytes(profile)).max().unwrap_or(0)
    }

    /// Lets go of the activation memory, so that a larger one can take its place.
    pub(super) fn release_activations(&mut self) {
        self.bindings.values_mut().for_each(Binding::release_activations);
    }

    /// Lets go of large tensors of other owners, which would be kept alive. Where there are none, a
    /// recorded run outlives the request.
    pub(super) fn release_tensors(&mut self) {
        let kept = |buffer: &Arc<Buffer>| buffer.len() <= SMALL_BYTES || self.buffers.own(buffer);
        self.bindings.values_mut().for_each(|binding| binding.release_tensors(kept));
    }

    /// The context of `profile` and the buffers.
    pub(super) fn parts(
        &mut self,
        profile: usize,
        stream: &Stream,
    ) -> Result<(&mut Binding, &mut Buffers), BackendError> {
        let submodule = self.buffers.submodule;
        if !self.bindings.contains_key(&profile) {
            let binding = Binding::new(&self.engine, profile, stream);
            let failed = |source| EngineError::TensorRt { submodule, source };
            self.bindings.insert(profile, binding.map_err(failed)?);
        }
        let binding = self.bindings.get_mut(&profile).expect("invariant: inserted above");
        Ok((binding, &mut self.buffers))
    }
}

impl Buffers {
    /// Whether `buffer` stays here from request to request.
    fn own(&self, buffer: &Arc<Buffer>) -> bool {
        let mut pieces = self.pools.values().flat_map(Pool::pieces);
        pieces.any(|piece| Arc::ptr_eq(&piece.buffer, buffer))
    }

    /// A host tensor as `dtype` in memory of `port` that nobody holds. From request to request it is
    /// the same memory, so that recorded runs, which know addresses, stay good.
    pub(super) fn upload(
        &mut self,
        shared: &Shared,
        port: &str,
        dtype: DType,
        tensor: &Tensor,
    ) -> Result<Arc<Memory>, BackendError> {
        let memory = self.take(shared, port, dtype, tensor.shape())?;
        let submodule = self.submodule;
        let failed = |source| EngineError::TensorRt { submodule, source };
        shared.gpu.upload(tensor, dtype, &memory.buffer).map_err(failed)?;
        Ok(memory)
    }

    /// Memory for the tensor of `port` that nobody holds.
    pub(super) fn take(
        &mut self,
        shared: &Shared,
        port: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Arc<Memory>, BackendError> {
        let bytes = shape.iter().product::<usize>() * dtype.bytes();
        let pool = self.pools.entry(port.into()).or_default();
        pool.take(bytes, |bytes| shared.allocate(self.submodule, bytes))
    }
}
