//! What all sessions of a GPU share: loaded engines, activation memory, the clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bernini_graphs::Submodule;
use bernini_graphs::engines::EngineEntry;
use bernini_tensorrt::cuda::{Buffer, Event};
use bernini_tensorrt::{Error, Runtime};

use super::EngineError;
use super::checks::check_contract;
use super::loaded::Loaded;
use super::plans::Plans;
use super::residency::{Resident, available, evictions};
use crate::backend::{BackendError, DeviceUse, EngineLoad};
use crate::device::{Gpu, Memory};
use crate::engines::Engines;

/// State of the GPU. Engines come before the runtime that made them, which outlives them.
pub(super) struct Shared {
    pub engines: Engines,
    pub gpu: Gpu,
    plans: Plans,
    residents: RefCell<Vec<Holder>>,
    activations: RefCell<Option<Arc<Buffer>>>,
    runtime: Runtime,
    limit: Option<u64>,
    free_at_start: u64,
    runs: RefCell<Vec<TimedRun>>,
    loads: RefCell<Vec<EngineLoad>>,
    peak: Cell<u64>,
    /// Counts loads, so that the longest unused engine is known.
    clock: Cell<u64>,
}

/// An engine that stays loaded; in use while others hold it, too.
struct Holder {
    submodule: Submodule,
    loaded: Rc<RefCell<Loaded>>,
    last_used: u64,
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
            plans: Plans::new(engines.clone()),
            engines,
            residents: RefCell::default(),
            activations: RefCell::default(),
            runtime,
            limit,
            free_at_start: memory.free as u64,
            runs: RefCell::default(),
            loads: RefCell::default(),
            peak: Cell::new((memory.total - memory.free) as u64),
            clock: Cell::default(),
            gpu,
        })
    }

    /// The engine, loaded if it is not; in use while the result is held.
    pub(super) fn engine(
        &self,
        submodule: Submodule,
        entry: &EngineEntry,
    ) -> Result<Rc<RefCell<Loaded>>, BackendError> {
        self.clock.set(self.clock.get() + 1);
        let last_used = self.clock.get();
        let mut residents = self.residents.borrow_mut();
        if let Some(known) = residents.iter_mut().find(|known| known.submodule == submodule) {
            known.last_used = last_used;
            return Ok(Rc::clone(&known.loaded));
        }
        drop(residents);
        let growth = entry.activation_bytes.saturating_sub(self.activation_bytes());
        self.make_room(submodule, entry.plan.bytes, growth)?;
        let start = Instant::now();
        let plan = self.plans.take(submodule, entry)?;
        let waited_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let failed = |source| EngineError::TensorRt { submodule, source };
        let engine = self.runtime.deserialize(&plan.bytes).map_err(failed)?;
        self.loads.borrow_mut().push(EngineLoad {
            name: submodule.stem(),
            bytes: entry.plan.bytes,
            read_seconds: plan.read_seconds,
            waited_seconds,
            deserialize_seconds: start.elapsed().as_secs_f64(),
        });
        drop(plan);
        check_contract(submodule, entry, &engine.tensors(), engine.profiles())?;
        self.note_memory()?;
        let loaded = Loaded::new(submodule, engine, entry.plan.bytes);
        self.grow_activations(submodule, loaded.activation_bytes())?;
        let loaded = Rc::new(RefCell::new(loaded));
        let holder = Holder { submodule, loaded: Rc::clone(&loaded), last_used };
        self.residents.borrow_mut().push(holder);
        Ok(loaded)
    }

    /// Begins to read the plans of engines that will be asked for in this order, and are not loaded.
    pub(super) fn expect(&self, submodules: impl IntoIterator<Item = Submodule>) {
        let residents = self.residents.borrow();
        let absent = |wanted: &Submodule| residents.iter().all(|known| known.submodule != *wanted);
        let absent: Vec<_> = submodules.into_iter().filter(absent).collect();
        if !absent.is_empty() {
            self.plans.expect(absent);
        }
    }

    /// Makes the activation buffer large enough for `needed` bytes. No context may be in a run.
    fn grow_activations(&self, submodule: Submodule, needed: u64) -> Result<(), BackendError> {
        if needed > self.activation_bytes() || self.activations.borrow().is_none() {
            // Both at once may not fit: every context lets go of the old buffer first.
            for holder in self.residents.borrow().iter() {
                holder.loaded.borrow_mut().release_activations();
            }
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
        let residents: Vec<_> = self.residents.borrow().iter().map(Holder::resident).collect();
        let room = available(free, used, self.limit);
        let unload = evictions(&residents, weights.saturating_add(activations), room);
        let unload = unload.map_err(|fits| EngineError::OutOfMemory {
            submodule,
            weights,
            activations,
            fits,
        })?;
        self.residents.borrow_mut().retain(|holder| !unload.contains(&holder.submodule));
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

    /// Waits for the runs so far, adds up their times and forgets them and the loads.
    pub(super) fn device_use(&self) -> Result<DeviceUse, BackendError> {
        let (peak_memory_bytes, loads) = (self.peak.get(), self.loads.take());
        let mut used = DeviceUse { peak_memory_bytes, loads, ..DeviceUse::default() };
        for TimedRun { submodule, start, end } in self.runs.take() {
            let seconds = f64::from(end.elapsed_ms(&start)?) / 1e3;
            *used.seconds.entry(submodule).or_default() += seconds;
        }
        Ok(used)
    }
}

impl Holder {
    fn resident(&self) -> Resident {
        // What is in use may be in a run, and is not unloaded anyway.
        let bytes = self.loaded.try_borrow().map_or(0, |loaded| loaded.bytes());
        Resident {
            submodule: self.submodule,
            bytes,
            last_used: self.last_used,
            in_use: Rc::strong_count(&self.loaded) > 1,
        }
    }
}
