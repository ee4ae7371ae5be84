//! Pinned host memory.

use std::{ptr::NonNull, slice};

use cudarc::driver::result;

use super::{
    Device,
    primary::{Primary, failed},
};
use crate::Error;

/// Pinned host bytes, zero at first: copies from and to them run at full PCIe speed.
pub struct HostBuffer {
    data: NonNull<u8>,
    len: usize,
    primary: Primary,
}

// SAFETY: it owns plain bytes; cuMemHostAlloc's memory is usable from every thread.
unsafe impl Send for HostBuffer {}
// SAFETY: a shared reference only reads the bytes.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    /// Allocates `bytes` of pinned memory.
    pub fn new(device: &Device, bytes: usize) -> Result<Self, Error> {
        Self::in_context(&device.primary, bytes)
    }

    pub(super) fn in_context(primary: &Primary, bytes: usize) -> Result<Self, Error> {
        primary.bind()?;
        // SAFETY: the context is current; freed in `drop` only.
        let data = unsafe { result::malloc_host(bytes.max(1), 0) };
        let data = data.map_err(failed(format!("allocate {bytes} pinned bytes")))?;
        let data = NonNull::new(data.cast::<u8>()).ok_or_else(|| Error::Cuda {
            call: format!("allocate {bytes} pinned bytes"),
            message: "null pointer".into(),
        })?;
        // SAFETY: `data` has room for `bytes` bytes.
        unsafe { data.write_bytes(0, bytes) };
        Ok(Self { data, len: bytes, primary: primary.clone() })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes, borrowed with `self`.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `len` initialised bytes, borrowed exclusively with `self`.
        unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        // A lost GPU cannot free memory, and nobody could act on the error.
        if self.primary.synchronize().is_ok() {
            // SAFETY: allocated in `in_context`, freed once, no copy of this context is left.
            let _ = unsafe { result::free_host(self.data.as_ptr().cast()) };
        }
    }
}
