//! One engine in use: shapes, addresses, and buffers that are reused from run to run.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bernini_graphs::Submodule;
use bernini_graphs::engines::EngineEntry;
use bernini_tensorrt::cuda::Buffer;
use bernini_tensorrt::{Context, Engine, Error};

use super::pool::Pool;
use super::shared::{Shared, TimedRun};
use super::sizes::{self, Sizes};
use super::{BackendError, EngineError};
use crate::backend::{Outputs, Session, check_inputs};
use crate::device::{DeviceTensor, Memory};
use crate::tensor::Tensor;

/// What `bernini build` is told where the request is not known.
const ANY_WORKLOAD: &str = "WIDTHxHEIGHTxFRAMES";

/// An execution context with what it is bound to.
pub(super) struct TensorRtSession {
    context: Context,
    shared: Rc<Shared>,
    submodule: Submodule,
    entry: EngineEntry,
    /// Keeps the engine from being unloaded.
    _user: Rc<()>,
    profile: Option<usize>,
    sizes: Sizes,
    /// Shape of every output at `sizes`.
    shapes: BTreeMap<String, Vec<usize>>,
    bound: BTreeMap<String, Arc<Buffer>>,
    activations: Option<Arc<Buffer>>,
    /// By port: what host inputs are copied to, and what outputs are written to.
    pools: BTreeMap<String, Pool<Memory>>,
}

impl TensorRtSession {
    pub(super) fn new(
        shared: Rc<Shared>,
        submodule: Submodule,
        engine: &Engine,
        user: Rc<()>,
    ) -> Result<Self, BackendError> {
        let entry = shared.engines.engine(submodule).cloned();
        let entry = entry.ok_or(BackendError::MissingSubmodule { submodule })?;
        let context = engine.context();
        let context = context.map_err(|source| EngineError::TensorRt { submodule, source })?;
        Ok(Self {
            context,
            shared,
            submodule,
            entry,
            _user: user,
            profile: None,
            sizes: Sizes::new(),
            shapes: BTreeMap::new(),
            bound: BTreeMap::new(),
            activations: None,
            pools: BTreeMap::new(),
        })
    }

    /// Profile and shapes for `inputs`, where they differ from those of the last run.
    fn resize(&mut self, inputs: &[(&str, &Tensor)]) -> Result<(), BackendError> {
        let shape_of = |wanted: &str| {
            let found = inputs.iter().find(|(name, _)| *name == wanted);
            found.map_or(&[][..], |(_, tensor)| tensor.shape())
        };
        let submodule = self.submodule;
        let sizes = sizes::bind(submodule, &self.entry.inputs, shape_of)?;
        if self.profile.is_some() && sizes == self.sizes {
            return Ok(());
        }
        let profile = sizes::require(submodule, &self.entry.profiles, &sizes, ANY_WORKLOAD)?;
        let failed = |source| EngineError::TensorRt { submodule, source };
        if self.profile != Some(profile) {
            self.profile = None;
            self.context.set_profile(profile, &self.shared.gpu.stream).map_err(failed)?;
        }
        for (name, tensor) in inputs {
            let shape: Vec<_> = tensor.shape().iter().map(|&size| size as i64).collect();
            self.context.set_shape(name, &shape).map_err(failed)?;
        }
        self.shapes.clear();
        for port in &self.entry.outputs {
            let shape = self.context.shape(&port.name).map_err(failed)?;
            let shape = shape.into_iter().map(|size| size as usize).collect();
            self.shapes.insert(port.name.clone(), shape);
        }
        (self.profile, self.sizes) = (Some(profile), sizes);
        Ok(())
    }

    /// Gives the context the shared activation buffer, which may have grown.
    fn share_activations(&mut self) -> Result<(), BackendError> {
        let shared = self.shared.activations();
        let same = match (&shared, &self.activations) {
            (Some(shared), Some(known)) => Arc::ptr_eq(shared, known),
            _ => false,
        };
        if let Some(buffer) = shared.filter(|_| !same) {
            self.context.set_memory(Arc::clone(&buffer)).map_err(|e| self.failed(e))?;
            self.activations = Some(buffer);
        }
        Ok(())
    }

    /// Binds what a tensor is in, or a copy of it if it is in host memory.
    fn feed(&mut self, name: &str, tensor: &Tensor) -> Result<(), BackendError> {
        if let Tensor::Device(tensor) = tensor {
            return self.bind(name, &tensor.memory().buffer);
        }
        let port = self.entry.inputs.iter().find(|port| port.name == name);
        let dtype = port.map_or(tensor.dtype(), |port| port.dtype);
        let bytes = tensor.shape().iter().product::<usize>() * dtype.bytes();
        let memory = self.memory(name, bytes)?;
        let buffer = &memory.buffer;
        self.shared.gpu.upload(tensor, dtype, buffer).map_err(|e| self.failed(e))?;
        self.bind(name, buffer)
    }

    /// Binds every output to memory that nobody holds.
    fn outputs(&mut self) -> Result<BTreeMap<String, Tensor>, BackendError> {
        let ports: Vec<_> =
            self.entry.outputs.iter().map(|port| (port.name.clone(), port.dtype)).collect();
        let mut outputs = BTreeMap::new();
        for (name, dtype) in ports {
            let shape = self.shapes.get(&name).cloned().unwrap_or_default();
            let bytes = shape.iter().product::<usize>() * dtype.bytes();
            let memory = self.memory(&name, bytes)?;
            self.bind(&name, &memory.buffer)?;
            outputs.insert(name, Tensor::Device(DeviceTensor::new(dtype, shape, memory)));
        }
        Ok(outputs)
    }

    fn memory(&mut self, name: &str, bytes: usize) -> Result<Arc<Memory>, BackendError> {
        let (shared, submodule) = (&self.shared, self.submodule);
        let pool = self.pools.entry(name.into()).or_default();
        pool.take(bytes, |bytes| shared.allocate(submodule, bytes))
    }

    fn bind(&mut self, name: &str, buffer: &Arc<Buffer>) -> Result<(), BackendError> {
        if self.bound.get(name).is_some_and(|known| Arc::ptr_eq(known, buffer)) {
            return Ok(());
        }
        self.context.bind(name, Arc::clone(buffer), 0).map_err(|e| self.failed(e))?;
        self.bound.insert(name.into(), Arc::clone(buffer));
        Ok(())
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        let stream = self.shared.gpu.stream.clone();
        let start = stream.record().map_err(|e| self.failed(e))?;
        self.context.enqueue(&stream).map_err(|e| self.failed(e))?;
        let end = stream.record().map_err(|e| self.failed(e))?;
        self.shared.note_run(TimedRun { submodule: self.submodule, start, end });
        Ok(())
    }

    fn failed(&self, source: Error) -> EngineError {
        EngineError::TensorRt { submodule: self.submodule, source }
    }
}

impl Session for TensorRtSession {
    /// Queues the run; outputs are waited for where they are read.
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
        check_inputs(self.submodule, &self.entry.inputs, inputs)?;
        self.resize(inputs)?;
        self.share_activations()?;
        for (name, tensor) in inputs {
            self.feed(name, tensor)?;
        }
        let outputs = self.outputs()?;
        self.enqueue()?;
        Ok(Outputs::new(self.submodule, outputs))
    }
}
