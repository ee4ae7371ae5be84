//! How a network is built.

use std::rc::Rc;

use crate::{
    BuildProgress, Error, InputShapes, Plan,
    builder::Owner,
    progress::Progress,
    result::{Handle, c_name},
    sys,
};

/// Settings of a build: profiles, timing cache, limits, progress.
pub struct Config {
    handle: Handle<sys::Config>,
    cache: Option<Handle<sys::Cache>>,
    progress: Option<Progress>,
    builder: Rc<Owner>,
}

impl Config {
    pub(crate) fn new(builder: &Rc<Owner>) -> Result<Self, Error> {
        let handle = builder.tensorrt.call("create a configuration", |shim, error| {
            // SAFETY: the builder is alive, and kept so by the configuration; the result is ours.
            unsafe {
                let config = (shim.config_create)(builder.handle.get(), error);
                Handle::new(config, shim.config_destroy)
            }
        })?;
        let mut config = Self { handle, cache: None, progress: None, builder: builder.clone() };
        config.use_cache(&[])?;
        config.set_detailed(false);
        Ok(config)
    }

    /// Adds a profile: a range for every input with a size of -1. Returns its index.
    pub fn add_profile(&mut self, shapes: &[InputShapes]) -> Result<usize, Error> {
        let tensorrt = &self.builder.tensorrt;
        let profile = tensorrt.call("create a profile", |shim, error| {
            // SAFETY: the builder is alive, owns the profile and outlives this configuration.
            let profile = unsafe { (shim.profile_create)(self.builder.handle.get(), error) };
            (!profile.is_null()).then_some(profile)
        })?;
        for shapes in shapes {
            let bounds =
                [(sys::MIN, &shapes.min), (sys::OPT, &shapes.opt), (sys::MAX, &shapes.max)];
            for (bound, shape) in bounds {
                self.set_bound(profile, &shapes.name, bound, shape)?;
            }
        }
        tensorrt.call("add a profile: is min <= opt <= max for every input?", |shim, _| {
            // SAFETY: configuration and profile are alive.
            let index = unsafe { (shim.config_add_profile)(self.get(), profile) };
            usize::try_from(index).ok()
        })
    }

    fn set_bound(
        &self,
        profile: *mut sys::Profile,
        input: &str,
        bound: i32,
        shape: &[i64],
    ) -> Result<(), Error> {
        let (name, dims) = (c_name(input)?, sys::Dims::new(shape)?);
        self.builder.tensorrt.call("set an input's range in a profile", |shim, error| {
            // SAFETY: the profile is alive (its builder is); name and shape are copied.
            let set = unsafe { (shim.profile_set)(profile, name.as_ptr(), bound, &dims) };
            if !set {
                let text = format!("{input} {shape:?} does not fit");
                // SAFETY: the sink takes bytes of any text during the call.
                unsafe { (error.write)(error.user, text.as_ptr().cast(), text.len()) };
            }
            set.then_some(())
        })
    }

    /// Starts from a saved timing cache. Returns false, and starts from an empty one, when the
    /// bytes are damaged or come from another GPU or TensorRT.
    pub fn set_timing_cache(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        match self.use_cache(bytes) {
            Ok(()) => Ok(true),
            Err(_) => self.use_cache(&[]).map(|()| false),
        }
    }

    fn use_cache(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let config = self.get();
        let cache = self.builder.tensorrt.call("take a timing cache", |shim, error| {
            // SAFETY: the configuration is alive; TensorRT copies the bytes. The cache is ours and
            // dropped after the configuration, or after another took its place there.
            unsafe {
                let data = if bytes.is_empty() { std::ptr::null() } else { bytes.as_ptr() };
                let cache = (shim.cache_create)(config, data.cast(), bytes.len(), error);
                let cache = Handle::new(cache, shim.cache_destroy)?;
                (shim.config_set_cache)(config, cache.get()).then_some(cache)
            }
        })?;
        self.cache = Some(cache);
        Ok(())
    }

    /// The timing cache's bytes, with what builds have added to it.
    pub fn timing_cache(&self) -> Result<Vec<u8>, Error> {
        let memory = self.builder.tensorrt.call("serialise the timing cache", |shim, error| {
            // SAFETY: the configuration and its cache are alive; the result is ours.
            unsafe {
                let memory = (shim.config_serialize_cache)(self.get(), error);
                Handle::new(memory, shim.memory_destroy)
            }
        })?;
        Ok(Plan::new(memory, &self.builder).as_ref().to_vec())
    }

    /// Limits the scratch memory of a single layer, in bytes; TensorRT's default is all of the GPU.
    pub fn set_workspace(&mut self, bytes: usize) {
        // SAFETY: the configuration is alive.
        unsafe { (self.shim().config_set_workspace)(self.get(), bytes) };
    }

    /// 0 (fastest build) to 5 (fastest engine); TensorRT's default is 3.
    pub fn set_optimization_level(&mut self, level: u8) {
        // SAFETY: the configuration is alive.
        unsafe { (self.shim().config_set_optimization_level)(self.get(), i32::from(level)) };
    }

    /// Whether the plan keeps the detailed layer information of [`crate::Engine::layers`].
    pub fn set_detailed(&mut self, detailed: bool) {
        // SAFETY: the configuration is alive.
        unsafe { (self.shim().config_set_detailed)(self.get(), detailed) };
    }

    /// Calls `progress` at every step of a build, possibly from TensorRT's threads, one at a time;
    /// false cancels the build. A panic cancels it too and becomes [`Error::CallbackPanicked`].
    pub fn set_progress(
        &mut self,
        progress: impl FnMut(BuildProgress) -> bool + Send + 'static,
    ) -> Result<(), Error> {
        let progress = Progress::new(&self.builder.tensorrt, Box::new(progress))?;
        // SAFETY: the configuration is alive; the monitor is dropped after it, or after another
        // took its place there.
        unsafe { (self.shim().config_set_monitor)(self.get(), progress.monitor()) };
        self.progress = Some(progress);
        Ok(())
    }

    pub(crate) fn start_progress(&self) {
        self.progress.iter().for_each(Progress::start);
    }

    /// What the progress callback did to a build that ended.
    pub(crate) fn check_progress(&self, built: bool) -> Result<(), Error> {
        self.progress.as_ref().map_or(Ok(()), |progress| progress.check(built))
    }

    pub(crate) fn builder(&self) -> &Rc<Owner> {
        &self.builder
    }

    pub(crate) fn get(&self) -> *mut sys::Config {
        self.handle.get()
    }

    fn shim(&self) -> &'static sys::Shim {
        self.builder.tensorrt.shim()
    }
}
