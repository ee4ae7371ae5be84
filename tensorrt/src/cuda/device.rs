//! One GPU.

use std::{ffi::c_int, sync::Arc};

use cudarc::driver::sys;

use super::{
    Stream,
    primary::{Primary, failed},
};
use crate::Error;

/// A GPU, by its primary context. Cheap to clone.
#[derive(Clone)]
pub struct Device {
    pub(crate) primary: Primary,
    facts: Arc<Facts>,
}

struct Facts {
    name: String,
    compute_capability: (u32, u32),
    cuda_driver: (u32, u32),
}

/// Memory of a GPU, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Not in use by anyone.
    pub free: usize,
    /// In all.
    pub total: usize,
}

impl Device {
    /// Opens the GPU with this number, among those that CUDA_VISIBLE_DEVICES leaves, and makes it
    /// current on this thread. [`Error::NoDriver`] where there is no driver.
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        let primary = Primary::open(ordinal)?;
        let facts = Arc::new(Facts::read(&primary)?);
        Ok(Self { primary, facts })
    }

    /// The product's name, such as `NVIDIA H200`.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// Compute capability, such as `(9, 0)`.
    pub fn compute_capability(&self) -> (u32, u32) {
        self.facts.compute_capability
    }

    /// CUDA version that the driver supports, such as `(12, 6)`.
    pub fn cuda_driver(&self) -> (u32, u32) {
        self.facts.cuda_driver
    }

    /// Free and total memory now.
    pub fn memory(&self) -> Result<Memory, Error> {
        let Some(context) = self.primary.bind()? else { return Ok(Memory { free: 0, total: 0 }) };
        let (free, total) = context.mem_get_info().map_err(failed("read the free memory"))?;
        Ok(Memory { free, total })
    }

    /// A new stream, which does not wait for the default stream.
    pub fn stream(&self) -> Result<Stream, Error> {
        Stream::new(&self.primary)
    }

    /// Makes this GPU current on the calling thread: needed before TensorRT is used from a thread
    /// other than the one that opened the device.
    pub fn make_current(&self) -> Result<(), Error> {
        self.primary.bind().map(|_| ())
    }

    /// A GPU whose memory is the host's and whose copies are done at once: for tests.
    #[cfg(any(test, feature = "host-memory"))]
    pub fn host_memory() -> Self {
        let facts = Facts { name: "host".into(), compute_capability: (9, 0), cuda_driver: (12, 6) };
        Self { primary: Primary::Host, facts: Arc::new(facts) }
    }
}

impl Facts {
    fn read(primary: &Primary) -> Result<Self, Error> {
        let Some(context) = primary.bind()? else { return Err(Error::NoDriver) };
        let (major, minor) = context.compute_capability().map_err(failed("read the capability"))?;
        Ok(Self {
            name: context.name().map_err(failed("read the GPU's name"))?,
            compute_capability: (major.unsigned_abs(), minor.unsigned_abs()),
            cuda_driver: driver_version()?,
        })
    }
}

fn driver_version() -> Result<(u32, u32), Error> {
    let mut version: c_int = 0;
    // SAFETY: the driver is loaded (a context exists) and writes one int.
    let answer = unsafe { sys::cuDriverGetVersion(&mut version) };
    answer.result().map_err(failed("read the driver's version"))?;
    let version = version.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}
