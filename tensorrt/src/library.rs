//! Opening TensorRT's libraries.

use crate::{Error, Version};

/// TensorRT's libraries, opened, with the collector of its log lines. Cheap to clone.
#[derive(Clone)]
pub struct TensorRt(());

impl TensorRt {
    /// Opens libnvinfer and libnvonnxparser from `$TENSORRT_LIB_DIR`, else where the loader looks.
    /// Done once per process: later calls share the first success. Errors: [`Error::NotCompiled`],
    /// [`Error::NoDriver`] (looked for first), [`Error::Library`], [`Error::WrongMajor`].
    pub fn open() -> Result<Self, Error> {
        Err(Error::NotCompiled)
    }

    /// Version of the library.
    pub fn version(&self) -> Version {
        unreachable!("invariant: open() fails")
    }
}
