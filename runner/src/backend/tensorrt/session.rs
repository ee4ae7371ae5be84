//! One engine in use: a context for each profile that is met, and buffers that are reused.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bernini_graphs::engines::EngineEntry;
use bernini_graphs::{DType, Submodule};
use bernini_tensorrt::{Engine, Error};

use super::binding::Binding;
use super::pool::Pool;
use super::shared::{Shared, TimedRun};
use super::{BackendError, EngineError, sizes};
use crate::backend::{Outputs, Session, check_inputs};
use crate::device::{DeviceTensor, Memory};
use crate::tensor::Tensor;

/// What `bernini build` is told where the request is not known.
const ANY_WORKLOAD: &str = "WIDTHxHEIGHTxFRAMES";

/// An engine with its contexts and buffers.
pub(super) struct TensorRtSession {
    /// By profile: changing the profile of a context would stop the stream.
    bindings: BTreeMap<usize, Binding>,
    engine: Engine,
    /// Keeps the engine from being unloaded.
    _user: Rc<()>,
    submodule: Submodule,
    entry: EngineEntry,
    buffers: Buffers,
}

/// By port: what host inputs are copied to, and what outputs are written to.
struct Buffers {
    pools: BTreeMap<String, Pool<Memory>>,
    submodule: Submodule,
    shared: Rc<Shared>,
}

impl Buffers {
    fn take(
        &mut self,
        port: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Arc<Memory>, BackendError> {
        let bytes = shape.iter().product::<usize>() * dtype.bytes();
        let pool = self.pools.entry(port.into()).or_default();
        pool.take(bytes, |bytes| self.shared.allocate(self.submodule, bytes))
    }
}

impl TensorRtSession {
    pub(super) fn new(
        shared: Rc<Shared>,
        submodule: Submodule,
        entry: EngineEntry,
        engine: Engine,
        user: Rc<()>,
    ) -> Self {
        let buffers = Buffers { pools: BTreeMap::new(), submodule, shared };
        Self { bindings: BTreeMap::new(), engine, _user: user, submodule, entry, buffers }
    }

    /// The profile of `inputs`, whose context has their shapes and the activation buffer.
    fn prepare(&mut self, inputs: &[(&str, &Tensor)]) -> Result<usize, BackendError> {
        let shape_of = |wanted: &str| {
            let found = inputs.iter().find(|(name, _)| *name == wanted);
            found.map_or(&[][..], |(_, tensor)| tensor.shape())
        };
        let (submodule, shared) = (self.submodule, &self.buffers.shared);
        let sizes = sizes::bind(submodule, &self.entry.inputs, shape_of)?;
        let profile = sizes::require(submodule, &self.entry.profiles, &sizes, ANY_WORKLOAD)?;
        let failed = |source| EngineError::TensorRt { submodule, source };
        if !self.bindings.contains_key(&profile) {
            let binding = Binding::new(&self.engine, profile, &shared.gpu.stream);
            self.bindings.insert(profile, binding.map_err(failed)?);
        }
        if let Some(binding) = self.bindings.get_mut(&profile) {
            binding.resize(sizes, inputs, &self.entry.outputs).map_err(failed)?;
            binding.share(shared.activations()).map_err(failed)?;
        }
        Ok(profile)
    }

    /// A run that lacks nothing but to be queued, and its outputs.
    fn turn(
        &mut self,
        inputs: &[(&str, &Tensor)],
    ) -> Result<(Turn<'_>, BTreeMap<String, Tensor>), BackendError> {
        check_inputs(self.submodule, &self.entry.inputs, inputs)?;
        let profile = self.prepare(inputs)?;
        let binding = self.bindings.get_mut(&profile).expect("invariant: prepare made it");
        let mut turn = Turn { binding, buffers: &mut self.buffers, entry: &self.entry };
        for (name, tensor) in inputs {
            turn.feed(name, tensor)?;
        }
        let outputs = turn.outputs()?;
        Ok((turn, outputs))
    }
}

/// One run with the context of a profile.
struct Turn<'a> {
    binding: &'a mut Binding,
    buffers: &'a mut Buffers,
    entry: &'a EngineEntry,
}

impl Turn<'_> {
    /// Binds what a tensor is in, or a copy of it if it is in host memory.
    fn feed(&mut self, name: &str, tensor: &Tensor) -> Result<(), BackendError> {
        if let Tensor::Device(tensor) = tensor {
            return self.bind(name, tensor.memory());
        }
        let dtype = input_type(self.entry, name, tensor);
        let memory = self.buffers.take(name, dtype, tensor.shape())?;
        let uploaded = self.buffers.shared.gpu.upload(tensor, dtype, &memory.buffer);
        uploaded.map_err(|e| self.failed(e))?;
        self.bind(name, &memory)
    }

    /// Binds every output to memory that nobody holds.
    fn outputs(&mut self) -> Result<BTreeMap<String, Tensor>, BackendError> {
        let mut outputs = BTreeMap::new();
        for port in &self.entry.outputs {
            let shape = self.binding.shape(&port.name);
            let memory = self.buffers.take(&port.name, port.dtype, &shape)?;
            self.bind(&port.name, &memory)?;
            let tensor = DeviceTensor::new(port.dtype, shape, memory);
            outputs.insert(port.name.clone(), Tensor::Device(tensor));
        }
        Ok(outputs)
    }

    fn bind(&mut self, name: &str, memory: &Memory) -> Result<(), BackendError> {
        Ok(self.binding.bind(name, &memory.buffer).map_err(|e| self.failed(e))?)
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        let stream = self.buffers.shared.gpu.stream.clone();
        let start = stream.record().map_err(|e| self.failed(e))?;
        self.binding.enqueue(&stream).map_err(|e| self.failed(e))?;
        let end = stream.record().map_err(|e| self.failed(e))?;
        let submodule = self.buffers.submodule;
        self.buffers.shared.note_run(TimedRun { submodule, start, end });
        Ok(())
    }

    fn failed(&self, source: Error) -> EngineError {
        EngineError::TensorRt { submodule: self.buffers.submodule, source }
    }
}

/// Type of the input `name` of an engine.
fn input_type(entry: &EngineEntry, name: &str, tensor: &Tensor) -> DType {
    let port = entry.inputs.iter().find(|port| port.name == name);
    port.map_or(tensor.dtype(), |port| port.dtype)
}

impl Session for TensorRtSession {
    /// Queues the run; outputs are waited for where they are read.
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
        let submodule = self.submodule;
        let (mut turn, outputs) = self.turn(inputs)?;
        turn.enqueue()?;
        Ok(Outputs::new(submodule, outputs))
    }

    fn resident(&self, name: &str, tensor: Tensor) -> Result<Tensor, BackendError> {
        let dtype = input_type(&self.entry, name, &tensor);
        Ok(Tensor::Device(self.buffers.shared.gpu.resident(tensor, dtype)?))
    }

    fn layers(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, f32)>, BackendError> {
        let (turn, _outputs) = self.turn(inputs)?;
        let stream = turn.buffers.shared.gpu.stream.clone();
        Ok(turn.binding.layers(&stream).map_err(|e| turn.failed(e))?)
    }
}
