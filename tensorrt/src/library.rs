//! TensorRT as opened: its entry points, its log, its version.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    Error, Version,
    cuda::require_driver,
    loader::{self, Entries},
    log::{self, Log},
    result::Handle,
    sys::{self, Shim},
};

/// TensorRT's libraries, opened, with the collector of its log lines. Cheap to clone.
#[derive(Clone)]
pub struct TensorRt(Arc<Library>);

struct Library {
    logger: Handle<sys::Logger>,
    log: Arc<Log>,
    shim: &'static Shim,
    entries: Entries,
    version: Version,
    folder: Option<PathBuf>,
    /// Plugin libraries that TensorRT has loaded.
    plugins: Mutex<Vec<PathBuf>>,
}

// SAFETY: the entry points are functions of libraries that are never closed. The logger is our own
// C++ object, constant after construction, which passes lines to `Log`, behind a mutex; NVIDIA's
// ILogger must be callable from any thread ("The Logger object implementation must be thread safe",
// NvInferRuntime.h). It is dropped by whoever drops the last `Arc`, after all that log through it.
unsafe impl Send for Library {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Library {}

/// TensorRT keeps one logger per process, the first, so there is one `TensorRt`, never dropped.
static OPENED: Mutex<Option<TensorRt>> = Mutex::new(None);

impl TensorRt {
    /// Opens libnvinfer and libnvonnxparser from `$TENSORRT_LIB_DIR`, else where the loader looks.
    /// Done once per process: later calls share the first success. Errors: [`Error::NotCompiled`],
    /// [`Error::NoDriver`] (looked for first), [`Error::Library`], [`Error::WrongMajor`].
    pub fn open() -> Result<Self, Error> {
        let shim = sys::shim().ok_or(Error::NotCompiled)?;
        require_driver()?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensorrt) = &*opened {
            return Ok(tensorrt.clone());
        }
        let libraries = loader::open(shim.headers_major, loader::folder().as_deref())?;
        let tensorrt = Self::with(shim, libraries)?;
        Ok(opened.insert(tensorrt).clone())
    }

    /// Calls go through `shim`, whose logger is created here.
    pub(crate) fn with(shim: &'static Shim, libraries: loader::Libraries) -> Result<Self, Error> {
        let log = Arc::new(Log::default());
        // SAFETY: the user pointer is the `Log`, which lives as long as the logger: it is dropped
        // after it, see the order of `Library`'s fields.
        let logger = unsafe {
            let logger = (shim.logger_create)(Arc::as_ptr(&log).cast_mut().cast(), log::receive);
            Handle::new(logger, shim.logger_destroy)
        };
        let out_of_memory = || Error::TensorRt {
            call: "create the logger",
            message: "out of memory".into(),
            log: Vec::new(),
        };
        let loader::Libraries { entries, version, folder } = libraries;
        let logger = logger.ok_or_else(out_of_memory)?;
        let plugins = Mutex::default();
        Ok(Self(Arc::new(Library { logger, log, shim, entries, version, folder, plugins })))
    }

    /// Version of the library.
    pub fn version(&self) -> Version {
        self.0.version
    }

    pub(crate) fn shim(&self) -> &'static Shim {
        self.0.shim
    }

    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    pub(crate) fn logger(&self) -> *mut sys::Logger {
        self.0.logger.get()
    }

    pub(crate) fn entries(&self) -> &Entries {
        &self.0.entries
    }

    pub(crate) fn plugins(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder that the libraries came from; `None` if the loader found them.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.0.folder.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "shim"))]
    #[test]
    fn without_the_shim_open_says_so() {
        let error = TensorRt::open().err().expect("an error");
        assert_eq!(error, Error::NotCompiled);
        assert!(error.to_string().contains("--features shim"));
    }

    #[cfg(feature = "shim")]
    #[test]
    fn a_missing_driver_is_said_before_anything_is_opened() {
        if require_driver() == Err(Error::NoDriver) {
            assert_eq!(TensorRt::open().err(), Some(Error::NoDriver));
        }
    }

    #[cfg(feature = "shim")]
    #[test]
    fn the_compiled_logger_comes_and_goes() {
        let null = std::ptr::null_mut();
        let entries = Entries { builder: null, runtime: null, parser: null, registry: null };
        let version = Version { major: 10, minor: 6, patch: 0 };
        let libraries = loader::Libraries { entries, version, folder: None };
        let tensorrt = TensorRt::with(sys::shim().expect("compiled in"), libraries);
        assert_eq!(tensorrt.expect("a logger").version().to_string(), "10.6.0");
    }
}
