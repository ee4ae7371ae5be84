//! The primary context of a GPU, and the driver's errors in our words.

use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, result, sys};

use crate::Error;

/// Keeps the primary context alive for whatever lives in it.
#[derive(Clone)]
pub(crate) enum Primary {
    Context(Arc<CudaContext>),
    /// Stands for a GPU in tests: memory is the host's, and all work is done at once.
    #[cfg(any(test, feature = "host-memory"))]
    Host,
}

impl Primary {
    pub(crate) fn open(ordinal: usize) -> Result<Self, Error> {
        require_driver()?;
        let context = CudaContext::new(ordinal);
        Ok(Self::Context(context.map_err(failed(format!("open GPU {ordinal}")))?))
    }

    /// The context, current on this thread.
    pub(crate) fn bind(&self) -> Result<Option<&Arc<CudaContext>>, Error> {
        match self {
            Self::Context(context) => {
                context.bind_to_thread().map_err(failed("make the context current"))?;
                Ok(Some(context))
            }
            #[cfg(any(test, feature = "host-memory"))]
            Self::Host => Ok(None),
        }
    }

    /// Copies at once where the GPU's memory is the host's; whether it is.
    ///
    /// # Safety
    /// Both ranges are valid, and nobody else uses the target.
    pub(super) unsafe fn copy_on_host(&self, from: u64, to: u64, bytes: usize) -> bool {
        let on_host = !matches!(self, Self::Context(_));
        if on_host {
            // SAFETY: the caller's; addresses are the host's.
            unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        }
        on_host
    }

    /// Waits for all work of the GPU's context.
    pub(crate) fn synchronize(&self) -> Result<(), Error> {
        match self.bind()? {
            Some(context) => context.synchronize().map_err(failed("synchronize")),
            None => Ok(()),
        }
    }
}

/// Makes an [`Error`] of the driver's error for `call`.
pub(crate) fn failed(call: impl Into<String>) -> impl FnOnce(DriverError) -> Error {
    let call = call.into();
    move |error| Error::Cuda { call, message: message(error) }
}

fn message(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("error {}", error.0 as u32))
}

/// Fails where the CUDA driver is missing or has no usable GPU. Must come before any other call:
/// cudarc panics and TensorRT crashes without a driver.
pub(crate) fn require_driver() -> Result<(), Error> {
    // SAFETY: opening libcuda runs only the driver's own initialisers.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDriver);
    }
    result::init().map_err(failed("start the driver"))
}
