//! What all sessions of a GPU share: loaded engines, activation memory, the clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bernini_graphs::Submodule;
use bernini_graphs::engines::EngineEntry;
use bernini_tensorrt::cuda::{Buffer, Event};
use bernini_tensorrt::{Engine, Error, Runtime};

use super::EngineError;
use super::checks::{check_contract, read_plan};
use super::residency::{Resident, available, evictions};
use crate::backend::{BackendError, DeviceUse};
use crate::device::{Gpu, Memory};
use crate::engines::Engines;

/// State of the GPU. Engines come before the runtime that made them, which outlives them.
pub(super) struct Shared {
    pub engines: Engines,
    pub gpu: Gpu,
    loaded: RefCell<Vec<Loaded>>,
    activations: RefCell<Option<Arc<Buffer>>>,
    runtime: Runtime,
    limit: Option<u64>,
    free_at_start: u64,
    runs: RefCell<Vec<TimedRun>>,
    peak: Cell<u64>,
    /// Counts loads, so that the longest unused engine is known.
    clock: Cell<u64>,
}

struct Loaded {
    submodule: Submodule,
    engine: Engine,
    bytes: u64,
    last_used: u64,
    /// Held by every session of the engine.
    users: Rc<()>,
}

/// One run of an engine between two points of the stream.
pub(super) struct TimedRun {
    pub submodule: Submodule,
    pub start: Event,
    pub end: Event,
}

impl Shared {
    pub(super) fn new(
        engines: Engines,
        gpu: Gpu,
        runtime: Runtime,
        limit: Option<u64>,
    ) -> Result<Self, Error> {
        let memory = gpu.device.memory()?;
        Ok(Self {
            engines,
            loaded: RefCell::default(),
            activations: RefCell::default(),
            runtime,
            limit,
            free_at_start: memory.free as u64,
            runs: RefCell::default(),
            peak: Cell::new((memory.total - memory.free) as u64),
            clock: Cell::default(),
            gpu,
        })
    }

    /// The engine, loaded if it is not, and what marks it as in use while it is held.
    pub(super) fn engine(
        &self,
        submodule: Submodule,
        entry: &EngineEntry,
    ) -> Result<(Engine, Rc<()>), BackendError> {
        self.clock.set(self.clock.get() + 1);
        if let Some(known) = self.loaded.borrow_mut().iter_mut().find(|l| l.submodule == submodule)
        {
            known.last_used = self.clock.get();
            return Ok((known.engine.clone(), Rc::clone(&known.users)));
        }
        let growth = entry.activation_bytes.saturating_sub(self.activation_bytes());
        self.make_room(submodule, entry.plan.bytes, growth)?;
        let plan = read_plan(&self.engines.path(&entry.plan), &entry.plan)?;
        let failed = |source| EngineError::TensorRt { submodule, source };
        let engine = self.runtime.deserialize(&plan).map_err(failed)?;
        check_contract(submodule, entry, &engine.tensors(), engine.profiles())?;
        self.note_memory()?;
        let users = Rc::new(());
        let (last_used, bytes) = (self.clock.get(), entry.plan.bytes);
        let loaded = Loaded { submodule, engine, bytes, last_used, users };
        let found = (loaded.engine.clone(), Rc::clone(&loaded.users));
        self.loaded.borrow_mut().push(loaded);
        Ok(found)
    }

    /// Makes the activation buffer large enough for every profile of `engine`.
    pub(super) fn grow_activations(
        &self,
        submodule: Submodule,
        engine: &Engine,
    ) -> Result<(), BackendError> {
        let profiles = 0..engine.profiles();
        let needed = profiles.map(|profile| engine.activation_bytes(profile)).max().unwrap_or(0);
        if needed > self.activation_bytes() || self.activations.borrow().is_none() {
            // Sessions that ran before hold the old buffer until they run again.
            self.activations.replace(None);
            let memory = self.allocate(submodule, needed as usize)?;
            self.activations.replace(Some(Arc::clone(&memory.buffer)));
        }
        Ok(())
    }

    /// The buffer that every context uses; present once an engine was loaded.
    pub(super) fn activations(&self) -> Option<Arc<Buffer>> {
        self.activations.borrow().clone()
    }

    fn activation_bytes(&self) -> u64 {
        self.activations.borrow().as_ref().map_or(0, |buffer| buffer.len() as u64)
    }

    /// Memory for a tensor of `submodule`, unloading idle engines where it needs their room.
    pub(super) fn allocate(
        &self,
        submodule: Submodule,
        bytes: usize,
    ) -> Result<Arc<Memory>, BackendError> {
        self.make_room(submodule, 0, bytes as u64)?;
        let failed = |source| EngineError::TensorRt { submodule, source };
        let memory = self.gpu.allocate(bytes).map_err(failed)?;
        self.note_memory()?;
        Ok(memory)
    }

    fn make_room(
        &self,
        submodule: Submodule,
        weights: u64,
        activations: u64,
    ) -> Result<(), BackendError> {
        let free = self.gpu.device.memory()?.free as u64;
        let used = self.free_at_start.saturating_sub(free);
        let residents: Vec<_> = self.loaded.borrow().iter().map(Loaded::resident).collect();
        let room = available(free, used, self.limit);
        let unload = evictions(&residents, weights.saturating_add(activations), room);
        let unload = unload.map_err(|fits| EngineError::OutOfMemory {
            submodule,
            weights,
            activations,
            fits,
        })?;
        self.loaded.borrow_mut().retain(|loaded| !unload.contains(&loaded.submodule));
        Ok(())
    }

    fn note_memory(&self) -> Result<(), Error> {
        let memory = self.gpu.device.memory()?;
        self.peak.set(self.peak.get().max((memory.total - memory.free) as u64));
        Ok(())
    }

    pub(super) fn note_run(&self, run: TimedRun) {
        self.runs.borrow_mut().push(run);
    }

    /// Waits for the runs so far, adds up their times and forgets them.
    pub(super) fn device_use(&self) -> Result<DeviceUse, BackendError> {
        let mut used = DeviceUse { peak_memory_bytes: self.peak.get(), ..DeviceUse::default() };
        for TimedRun { submodule, start, end } in self.runs.take() {
            let seconds = f64::from(end.elapsed_ms(&start)?) / 1e3;
            *used.seconds.entry(submodule).or_default() += seconds;
        }
        Ok(used)
    }
}

impl Loaded {
    fn resident(&self) -> Resident {
        let Self { submodule, bytes, last_used, .. } = *self;
        Resident { submodule, bytes, last_used, in_use: Rc::strong_count(&self.users) > 1 }
    }
}
