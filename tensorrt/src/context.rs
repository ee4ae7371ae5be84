//! Running engines.

use std::{ffi::CString, sync::Arc};

use crate::{
    EngineTensor, Error,
    cuda::{Buffer, Graph, Stream},
    engine::Engine,
    profiler::Profiler,
    result::{Handle, c_index, c_name},
    sys,
};

/// How errors call the activation memory.
const ACTIVATIONS: &str = "activation memory";

/// State of one run of an engine: profile, shapes, addresses, activation memory. Several contexts
/// may share one activation buffer as long as their work is on one stream.
pub struct Context {
    // Waited for before anything that it uses is destroyed.
    running: Running,
    readiness: Readiness,
    handle: Handle<sys::Context>,
    slots: Vec<Slot>,
    memory: Option<Arc<Buffer>>,
    profile: usize,
    engine: Engine,
}

/// What is known of the next run since the last change of a shape, buffer or profile.
enum Readiness {
    /// Buffers may be missing or too small.
    Changed,
    /// The last run was the same. TensorRT wants one such before a run is recorded.
    Ran,
    /// Runs are the same and on one stream, and were recorded.
    Recorded(Graph, Stream),
    /// Some layer cannot be recorded.
    Unrecordable,
}

/// One tensor of the engine and the bytes that it uses.
struct Slot {
    tensor: EngineTensor,
    name: CString,
    bound: Option<(Arc<Buffer>, usize)>,
}

/// The stream of the last run.
struct Running(Option<Stream>);

impl Drop for Running {
    fn drop(&mut self) {
        // A lost GPU runs nothing any more.
        let _ = self.0.as_ref().map(Stream::synchronize);
    }
}

// SAFETY: TensorRT's objects belong to no thread: "accesses to an object from different threads must
// be serialized by the client" (NVIDIA, How TensorRT Works, Threading). A context is changed through
// `&mut` only and is not `Sync`, so moving it serialises them. The same holds for a CUDA graph, which
// "must not be accessed concurrently" (CUDA Driver API, Graph object thread safety). The rest of the
// struct is `Send`.
unsafe impl Send for Context {}

impl Context {
    pub(crate) fn new(engine: &Engine) -> Result<Self, Error> {
        let slot = |tensor: &EngineTensor| {
            Ok(Slot { name: c_name(&tensor.name)?, tensor: tensor.clone(), bound: None })
        };
        let slots = engine.tensors_ref().iter().map(slot).collect::<Result<_, Error>>()?;
        let handle = engine.tensorrt().call("create an execution context", |shim, error| {
            // SAFETY: the engine is alive, and kept so by the context; the result is ours.
            unsafe {
                let context = (shim.context_create)(engine.get(), error);
                Handle::new(context, shim.context_destroy)
            }
        })?;
        let engine = engine.clone();
        let (running, readiness) = (Running(None), Readiness::Changed);
        Ok(Self { running, readiness, handle, slots, memory: None, profile: 0, engine })
    }

    /// Chooses a profile (0 at first) and waits for it; forgets every input shape.
    pub fn set_profile(&mut self, profile: usize, stream: &Stream) -> Result<(), Error> {
        let (index, raw) = (c_index(profile)?, stream.bind()?.cast());
        self.readiness = Readiness::Changed;
        self.engine.tensorrt().call("choose a profile", |shim, error| {
            // SAFETY: the context is alive, and so is the stream until it was waited for below.
            unsafe { (shim.context_set_profile)(self.get(), index, raw, error) }.then_some(())
        })?;
        self.profile = profile;
        self.pass_memory();
        stream.synchronize()
    }

    /// Gives the activation memory, at least [`Engine::activation_bytes`] of the profile. Needed
    /// before the first enqueue.
    pub fn set_memory(&mut self, memory: Arc<Buffer>) -> Result<(), Error> {
        fits(ACTIVATIONS, self.engine.activation_bytes(self.profile), memory.len() as u64)?;
        let previous = self.memory.replace(memory);
        self.readiness = Readiness::Changed;
        self.pass_memory();
        drop(previous);
        Ok(())
    }

    /// Lets go of the activation memory; the next run needs it anew.
    pub fn release_memory(&mut self) {
        self.memory = None;
        self.readiness = Readiness::Changed;
    }

    fn pass_memory(&self) {
        if let Some(memory) = &self.memory {
            let bytes = i64::try_from(memory.len()).unwrap_or(i64::MAX);
            let shim = self.engine.tensorrt().shim();
            // SAFETY: the context is alive; the buffer is kept until another took its place, and
            // freed only after the GPU was waited for.
            unsafe { (shim.context_set_memory)(self.get(), memory.address(), bytes) };
        }
    }

    /// Sets the shape of an input, within the profile's range.
    pub fn set_shape(&mut self, name: &str, shape: &[i64]) -> Result<(), Error> {
        let (slot, dims) = (self.slot("input", name)?, sys::Dims::new(shape)?);
        let name = &self.slots[slot].name;
        self.readiness = Readiness::Changed;
        self.engine.tensorrt().call("set an input's shape", |shim, _| {
            // SAFETY: context and name are alive; the shape is copied.
            unsafe { (shim.context_set_shape)(self.get(), name.as_ptr(), &dims) }.then_some(())
        })
    }

    /// Current shape of a tensor; an output's is known once every input's is set.
    pub fn shape(&self, name: &str) -> Result<Vec<i64>, Error> {
        self.shape_of(&self.slots[self.slot("input or output", name)?])
    }

    fn shape_of(&self, slot: &Slot) -> Result<Vec<i64>, Error> {
        let mut dims = sys::Dims { rank: -1, ..Default::default() };
        let shim = self.engine.tensorrt().shim();
        // SAFETY: context and name are alive; `dims` is ours.
        unsafe { (shim.context_shape)(self.get(), slot.name.as_ptr(), &mut dims) };
        let shape = dims.shape().filter(|shape| shape.iter().all(|&size| size >= 0));
        shape.ok_or_else(|| Error::UnknownShape {
            tensor: slot.tensor.name.clone(),
            shape: dims.shape().unwrap_or_default(),
        })
    }

    /// Uses the bytes from `offset` of `buffer` for a tensor; dense, row-major. Kept until bound
    /// anew, also over changes of shape and profile.
    pub fn bind(&mut self, name: &str, buffer: Arc<Buffer>, offset: usize) -> Result<(), Error> {
        let slot = self.slot("input or output", name)?;
        if self.slots[slot].tensor.host {
            return Err(Error::HostTensor { tensor: name.into() });
        }
        let address = buffer.range("bind", offset, 0)?;
        let name = &self.slots[slot].name;
        self.engine.tensorrt().call("bind a tensor", |shim, _| {
            // SAFETY: context and name are alive; the buffer is kept in the slot, and freed only
            // after the GPU was waited for. `enqueue` checks its size.
            unsafe { (shim.context_bind)(self.get(), name.as_ptr(), address) }.then_some(())
        })?;
        self.slots[slot].bound = Some((buffer, offset));
        self.readiness = Readiness::Changed;
        Ok(())
    }

    /// Lets go of every bound buffer that is not `kept`; the next run needs those anew.
    pub fn release_tensors(&mut self, kept: impl Fn(&Arc<Buffer>) -> bool) {
        for slot in &mut self.slots {
            if slot.bound.as_ref().is_some_and(|(buffer, _)| !kept(buffer)) {
                slot.bound = None;
                self.readiness = Readiness::Changed;
            }
        }
    }

    /// Queues one run on the stream. Every tensor must be bound with room for its current shape.
    /// From the second run without a change on, runs are queued as one CUDA graph.
    pub fn enqueue(&mut self, stream: &Stream) -> Result<(), Error> {
        self.running.0 = Some(stream.clone());
        match &self.readiness {
            Readiness::Changed => {
                self.check()?;
                self.queue(stream)?;
                self.readiness = Readiness::Ran;
            }
            Readiness::Ran => {
                let graph = stream.record_graph(|| self.queue(stream))?;
                self.readiness = graph.map_or(Readiness::Unrecordable, |graph| {
                    Readiness::Recorded(graph, stream.clone())
                });
                return self.enqueue(stream);
            }
            Readiness::Recorded(graph, recorded) if recorded == stream => {
                // SAFETY: the context, its engine, memory and buffers are alive, and freed only
                // after the GPU was waited for; any change of them drops the graph.
                unsafe { graph.launch() }?;
            }
            Readiness::Recorded(..) | Readiness::Unrecordable => self.queue(stream)?,
        }
        Ok(())
    }

    fn queue(&self, stream: &Stream) -> Result<(), Error> {
        let raw = stream.bind()?.cast();
        self.engine.tensorrt().call("run an engine", |shim, error| {
            // SAFETY: the context, its engine, memory and buffers are alive; buffers are freed only
            // after the GPU was waited for, and every tensor fits its buffer.
            unsafe { (shim.context_enqueue)(self.get(), raw, error) }.then_some(())
        })
    }

    /// Runs once with TensorRT's profiler and returns each layer's name and milliseconds. Another
    /// context does it: TensorRT 10.6 crashes where one is profiled that was recorded.
    pub fn profile_layers(&self, stream: &Stream) -> Result<Vec<(String, f32)>, Error> {
        let mut twin = self.twin(stream)?;
        // The first run of a context also sets it up.
        twin.enqueue(stream)?;
        let profiler = Profiler::new(self.engine.tensorrt())?;
        let set = self.engine.tensorrt().shim().context_set_profiler;
        // SAFETY: the context is alive; the profiler is taken off again below, before it is dropped.
        unsafe { set(twin.get(), profiler.get()) };
        let run = twin.queue(stream).and_then(|()| stream.synchronize());
        // SAFETY: the context is alive.
        unsafe { set(twin.get(), std::ptr::null_mut()) };
        run.map(|()| profiler.layers())
    }

    /// A context that runs the same on the same buffers.
    fn twin(&self, stream: &Stream) -> Result<Self, Error> {
        let mut twin = Self::new(&self.engine)?;
        twin.set_profile(self.profile, stream)?;
        if let Some(memory) = &self.memory {
            twin.set_memory(Arc::clone(memory))?;
        }
        for slot in &self.slots {
            if slot.tensor.input {
                twin.set_shape(&slot.tensor.name, &self.shape_of(slot)?)?;
            }
            if let Some((buffer, offset)) = &slot.bound {
                twin.bind(&slot.tensor.name, Arc::clone(buffer), *offset)?;
            }
        }
        Ok(twin)
    }

    /// Every tensor has a buffer with room for its shape, and so have the activations.
    fn check(&self) -> Result<(), Error> {
        for slot in &self.slots {
            self.check_slot(slot)?;
        }
        let needed = self.engine.activation_bytes(self.profile);
        let available = self.memory.as_ref().map(|memory| memory.len() as u64);
        match available {
            None if needed > 0 => Err(Error::NotBound { tensor: ACTIVATIONS.into() }),
            available => fits(ACTIVATIONS, needed, available.unwrap_or(0)),
        }
    }

    fn check_slot(&self, slot: &Slot) -> Result<(), Error> {
        let tensor = || slot.tensor.name.clone();
        if slot.tensor.host {
            return Err(Error::HostTensor { tensor: tensor() });
        }
        let shape = self.shape_of(slot)?;
        let bound = slot.bound.as_ref().ok_or_else(|| Error::NotBound { tensor: tensor() });
        let (buffer, offset) = bound?;
        let needed = slot.tensor.dtype.bytes(&shape);
        let needed = needed.ok_or_else(|| Error::UnknownShape { tensor: tensor(), shape })?;
        fits(&slot.tensor.name, needed, (buffer.len() - offset) as u64)
    }

    /// Where the tensor of this name is, if it is on this side.
    fn slot(&self, side: &'static str, name: &str) -> Result<usize, Error> {
        let fits = |slot: &Slot| slot.tensor.input || side != "input";
        let found = self.slots.iter().position(|slot| fits(slot) && slot.tensor.name == name);
        found.ok_or_else(|| {
            let slots = self.slots.iter().filter(|slot| fits(slot));
            let known = slots.map(|slot| slot.tensor.name.clone()).collect();
            Error::UnknownTensor { side, name: name.into(), known }
        })
    }

    fn get(&self) -> *mut sys::Context {
        self.handle.get()
    }
}

fn fits(tensor: &str, needed: u64, available: u64) -> Result<(), Error> {
    if needed <= available {
        return Ok(());
    }
    Err(Error::BufferTooSmall { tensor: tensor.into(), needed, available })
}
