//! One engine in use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bernini_graphs::engines::EngineEntry;
use bernini_graphs::{DType, Submodule};
use bernini_tensorrt::Error;

use super::binding::Binding;
use super::loaded::{Buffers, Loaded};
use super::shared::{Shared, TimedRun};
use super::{BackendError, EngineError, sizes};
use crate::backend::{Outputs, Session, check_inputs};
use crate::device::{DeviceTensor, Memory};
use crate::tensor::Tensor;

/// What `bernini build` is told where the request is not known.
const ANY_WORKLOAD: &str = "WIDTHxHEIGHTxFRAMES";

/// A use of a loaded engine, whose contexts and buffers are there for the next use, too.
pub(super) struct TensorRtSession {
    loaded: Rc<RefCell<Loaded>>,
    submodule: Submodule,
    entry: EngineEntry,
    shared: Rc<Shared>,
}

impl TensorRtSession {
    pub(super) fn new(
        shared: Rc<Shared>,
        submodule: Submodule,
        entry: EngineEntry,
        loaded: Rc<RefCell<Loaded>>,
    ) -> Self {
        Self { loaded, submodule, entry, shared }
    }

    /// Prepares a run that lacks nothing but to be queued, and hands it on with its outputs.
    fn turn<T>(
        &self,
        inputs: &[(&str, &Tensor)],
        queue: impl FnOnce(Turn<'_>) -> Result<T, BackendError>,
    ) -> Result<(T, BTreeMap<String, Tensor>), BackendError> {
        let Self { submodule, entry, shared, .. } = self;
        check_inputs(*submodule, &entry.inputs, inputs)?;
        let shape_of = |wanted: &str| {
            let found = inputs.iter().find(|(name, _)| *name == wanted);
            found.map_or(&[][..], |(_, tensor)| tensor.shape())
        };
        let sizes = sizes::bind(*submodule, &entry.inputs, shape_of)?;
        let profile = sizes::require(*submodule, &entry.profiles, &sizes, ANY_WORKLOAD)?;
        let mut loaded = self.loaded.borrow_mut();
        let (binding, buffers) = loaded.parts(profile, &shared.gpu.stream)?;
        let mut turn = Turn { binding, buffers, entry, shared };
        let resized = turn.binding.resize(sizes, inputs, &entry.outputs);
        resized.map_err(|e| turn.failed(e))?;
        turn.binding.share(shared.activations()).map_err(|e| turn.failed(e))?;
        for (name, tensor) in inputs {
            turn.feed(name, tensor)?;
        }
        let outputs = turn.outputs()?;
        Ok((queue(turn)?, outputs))
    }
}

impl Drop for TensorRtSession {
    fn drop(&mut self) {
        // In use only while a panic unwinds out of a run.
        if let Ok(mut loaded) = self.loaded.try_borrow_mut() {
            loaded.release_tensors();
        }
    }
}

/// One run with the context of a profile.
struct Turn<'a> {
    binding: &'a mut Binding,
    buffers: &'a mut Buffers,
    entry: &'a EngineEntry,
    shared: &'a Shared,
}

impl Turn<'_> {
    /// Binds what a tensor is in, or a copy of it if it is in host memory.
    fn feed(&mut self, name: &str, tensor: &Tensor) -> Result<(), BackendError> {
        if let Tensor::Device(tensor) = tensor {
            return self.bind(name, tensor.memory());
        }
        let dtype = input_type(self.entry, name, tensor);
        let memory = self.buffers.upload(self.shared, name, dtype, tensor)?;
        self.bind(name, &memory)
    }

    /// Binds every output to memory that nobody holds.
    fn outputs(&mut self) -> Result<BTreeMap<String, Tensor>, BackendError> {
        let mut outputs = BTreeMap::new();
        for port in &self.entry.outputs {
            let shape = self.binding.shape(&port.name);
            let memory = self.buffers.take(self.shared, &port.name, port.dtype, &shape)?;
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
        let stream = &self.shared.gpu.stream;
        let start = stream.record().map_err(|e| self.failed(e))?;
        self.binding.enqueue(stream).map_err(|e| self.failed(e))?;
        let end = stream.record().map_err(|e| self.failed(e))?;
        self.shared.note_run(TimedRun { submodule: self.buffers.submodule, start, end });
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
        let ((), outputs) = self.turn(inputs, |mut turn| turn.enqueue())?;
        Ok(Outputs::new(self.submodule, outputs))
    }

    fn resident(&self, name: &str, tensor: Tensor) -> Result<Tensor, BackendError> {
        if matches!(tensor, Tensor::Device(_)) {
            return Ok(tensor);
        }
        let dtype = input_type(&self.entry, name, &tensor);
        let buffers = &mut self.loaded.borrow_mut().buffers;
        let memory = buffers.upload(&self.shared, name, dtype, &tensor)?;
        Ok(Tensor::Device(DeviceTensor::new(dtype, tensor.shape().to_vec(), memory)))
    }

    fn empty(
        &self,
        name: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Option<DeviceTensor>, BackendError> {
        let buffers = &mut self.loaded.borrow_mut().buffers;
        let memory = buffers.take(&self.shared, name, dtype, shape)?;
        Ok(Some(DeviceTensor::new(dtype, shape.to_vec(), memory)))
    }

    fn layers(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, f32)>, BackendError> {
        let (layers, _outputs) = self.turn(inputs, |turn| {
            let layers = turn.binding.layers(&turn.shared.gpu.stream);
            Ok(layers.map_err(|e| turn.failed(e))?)
        })?;
        Ok(layers)
    }
}
