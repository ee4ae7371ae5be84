//! GPU memory.

use cudarc::driver::{DriverError, result, sys};

use super::{
    Device,
    primary::{Primary, failed},
};
use crate::Error;

/// Bytes of GPU memory, aligned to 256; freed on drop, after all work of the GPU is done.
pub struct Buffer {
    address: sys::CUdeviceptr,
    len: usize,
    primary: Primary,
    /// What the address points to where there is no GPU.
    #[cfg(any(test, feature = "host-memory"))]
    _host: Option<Box<[std::cell::UnsafeCell<u8>]>>,
}

// SAFETY: bytes are copied by the streams of its GPU only, whose users order what they share.
#[cfg(any(test, feature = "host-memory"))]
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates `bytes` (plain `cuMemAlloc`; contents undefined). A buffer of 0 bytes has an
    /// address too. [`Error::OutOfMemory`] says what is free.
    pub fn new(device: &Device, bytes: usize) -> Result<Self, Error> {
        #[cfg(any(test, feature = "host-memory"))]
        if let Primary::Host = device.primary {
            return Ok(Self::on_host(bytes));
        }
        device.primary.bind()?;
        // SAFETY: the context is current; the address is freed in `drop` only.
        let address = unsafe { result::malloc_sync(bytes.max(1)) };
        let address = address.map_err(|error| allocation_failed(device, bytes, error))?;
        Ok(Self {
            address,
            len: bytes,
            primary: device.primary.clone(),
            #[cfg(any(test, feature = "host-memory"))]
            _host: None,
        })
    }

    /// Bytes of the host; full of what no number is, so that reading too early shows.
    #[cfg(any(test, feature = "host-memory"))]
    fn on_host(len: usize) -> Self {
        let bytes: Box<[_]> = (0..len.max(1)).map(|_| std::cell::UnsafeCell::new(0xff)).collect();
        let address = bytes.as_ptr() as sys::CUdeviceptr;
        Self { address, len, primary: Primary::Host, _host: Some(bytes) }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Device address of the first byte.
    pub(crate) fn address(&self) -> sys::CUdeviceptr {
        self.address
    }

    /// Device address of `bytes` bytes from `offset`, checked.
    pub(crate) fn range(
        &self,
        call: &'static str,
        offset: usize,
        bytes: usize,
    ) -> Result<sys::CUdeviceptr, Error> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.len) {
            return Err(Error::OutOfBounds { call, offset, bytes, len: self.len });
        }
        Ok(self.address + offset as sys::CUdeviceptr)
    }

    /// A buffer at an address that nobody will touch.
    #[cfg(test)]
    pub(crate) fn absent(address: sys::CUdeviceptr, len: usize) -> Self {
        Self { address, len, primary: Primary::Host, _host: None }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A lost GPU cannot free memory, and nobody could act on the error.
        if self.primary.synchronize().is_ok() && matches!(self.primary, Primary::Context(_)) {
            // SAFETY: allocated in `new`, freed once, no work of this context is left.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

fn allocation_failed(device: &Device, wanted: usize, error: DriverError) -> Error {
    match device.memory() {
        Ok(memory) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Error::OutOfMemory { wanted, free: memory.free, total: memory.total }
        }
        _ => failed(format!("allocate {wanted} bytes"))(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stays_inside() {
        let buffer = Buffer::absent(0x1000, 7);
        assert_eq!(buffer.range("upload", 0, 7), Ok(0x1000));
        assert_eq!(buffer.range("upload", 3, 4), Ok(0x1003));
        assert_eq!(buffer.range("upload", 7, 0), Ok(0x1007));
        let outside = |offset, bytes| Error::OutOfBounds { call: "upload", offset, bytes, len: 7 };
        for (offset, bytes) in [(0, 8), (7, 1), (8, 0), (usize::MAX, 2), (2, usize::MAX)] {
            assert_eq!(buffer.range("upload", offset, bytes), Err(outside(offset, bytes)));
        }
    }
}
