//! Streams, events and copies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaEvent, CudaStream, result, sys};

use super::{
    Buffer, HostBuffer,
    primary::{Primary, failed},
};
use crate::Error;

/// Copies from and to the host of up to this size go through pinned memory; such uploads are queued
/// without waiting.
const STAGING_BYTES: usize = 32 << 20;

/// A queue of GPU work, done in order. Cheap to clone.
#[derive(Clone)]
pub struct Stream(Arc<Queue>);

struct Queue {
    stream: Option<Arc<CudaStream>>,
    staging: Mutex<Staging>,
    /// Pinned bytes that downloads arrive in.
    landing: Mutex<Option<HostBuffer>>,
    primary: Primary,
}

/// Pinned bytes between the caller's and the GPU's; those before `used` may still be read.
#[derive(Default)]
struct Staging {
    bytes: Option<HostBuffer>,
    used: usize,
}

impl PartialEq for Stream {
    /// Whether both are the same queue.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Stream {
    pub(super) fn new(primary: &Primary) -> Result<Self, Error> {
        let stream = match primary.bind()? {
            Some(context) => Some(context.new_stream().map_err(failed("create a stream"))?),
            None => None,
        };
        let (staging, landing) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Queue { stream, staging, landing, primary: primary.clone() })))
    }

    /// Waits until everything queued so far is done.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.drain(&mut lock(&self.0.staging))
    }

    /// Waits, after which all staging bytes can be written again.
    fn drain(&self, staging: &mut Staging) -> Result<(), Error> {
        if let Some(stream) = &self.0.stream {
            stream.synchronize().map_err(failed("synchronize a stream"))?;
        }
        staging.used = 0;
        Ok(())
    }

    /// An event that happens once everything queued so far is done.
    pub fn record(&self) -> Result<Event, Error> {
        let Some(stream) = &self.0.stream else { return Err(Error::NoDriver) };
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        stream.record_event(flags).map(Event).map_err(failed("record an event"))
    }

    /// Copies `source` to `target` from byte `offset` on. On return `source` may be reused; up to
    /// 32 MiB is only queued, more is waited for.
    pub fn upload(&self, source: &[u8], target: &Buffer, offset: usize) -> Result<(), Error> {
        let address = target.range("upload", offset, source.len())?;
        // SAFETY: the target's range was checked; host memory of a buffer is nobody else's.
        let copied =
            unsafe { self.0.primary.copy_on_host(source.as_ptr() as u64, address, source.len()) };
        if source.is_empty() || copied {
            return Ok(());
        }
        if source.len() <= STAGING_BYTES {
            return self.upload_staged(source, address);
        }
        // SAFETY: the range was checked, and `source` is borrowed until the copy is done.
        let queued = unsafe { result::memcpy_htod_async(address, source, self.bind()?) };
        queued.map_err(failed("upload"))?;
        self.synchronize()
    }

    fn upload_staged(&self, source: &[u8], address: sys::CUdeviceptr) -> Result<(), Error> {
        let mut staging = lock(&self.0.staging);
        let stream = self.bind()?;
        if staging.used + source.len() > STAGING_BYTES {
            self.drain(&mut staging)?;
        }
        let start = staging.used;
        let bytes = pinned(&mut staging.bytes, &self.0.primary)?;
        let bytes = &mut bytes[start..start + source.len()];
        bytes.copy_from_slice(source);
        // SAFETY: the target's range was checked; these staging bytes are not written again before
        // the stream was waited for, nor freed before the context was.
        let queued = unsafe { result::memcpy_htod_async(address, bytes, stream) };
        staging.used = (start + source.len()).next_multiple_of(64).min(STAGING_BYTES);
        queued.map_err(failed("upload"))
    }

    /// Copies bytes of `source`, from byte `offset` on, into `target`, and waits for them.
    pub fn download(&self, source: &Buffer, offset: usize, target: &mut [u8]) -> Result<(), Error> {
        let address = source.range("download", offset, target.len())?;
        // SAFETY: the source's range was checked; the target is borrowed.
        let copied = unsafe {
            self.0.primary.copy_on_host(address, target.as_mut_ptr() as u64, target.len())
        };
        if target.is_empty() || copied {
            return Ok(());
        }
        if target.len() <= STAGING_BYTES {
            let mut landing = lock(&self.0.landing);
            let bytes = &mut pinned(&mut landing, &self.0.primary)?[..target.len()];
            self.download_waiting(address, bytes)?;
            target.copy_from_slice(bytes);
            return Ok(());
        }
        self.download_waiting(address, target)
    }

    fn download_waiting(&self, address: sys::CUdeviceptr, target: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the range was checked, and `target` is borrowed until the copy is done.
        let queued = unsafe { result::memcpy_dtoh_async(target, address, self.bind()?) };
        queued.map_err(failed("download"))?;
        self.synchronize()
    }

    /// Queues a copy of `bytes` bytes on the GPU; the ranges must not overlap.
    pub fn copy(
        &self,
        source: &Buffer,
        source_offset: usize,
        target: &Buffer,
        target_offset: usize,
        bytes: usize,
    ) -> Result<(), Error> {
        let from = source.range("copy, source", source_offset, bytes)?;
        let to = target.range("copy, target", target_offset, bytes)?;
        // SAFETY: both ranges were checked.
        if bytes == 0 || unsafe { self.0.primary.copy_on_host(from, to, bytes) } {
            return Ok(());
        }
        // SAFETY: both ranges were checked; buffers are freed after the context was waited for.
        let queued = unsafe { result::memcpy_dtod_async(to, from, bytes, self.bind()?) };
        queued.map_err(failed("copy"))
    }

    /// Queues setting `bytes` bytes of `target`, from byte `offset` on, to zero.
    pub fn zero(&self, target: &Buffer, offset: usize, bytes: usize) -> Result<(), Error> {
        let address = target.range("zero", offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        #[cfg(any(test, feature = "host-memory"))]
        if let Primary::Host = self.0.primary {
            return self.upload(&vec![0; bytes], target, offset);
        }
        // SAFETY: the range was checked; buffers are freed after the context was waited for.
        let queued = unsafe { result::memset_d8_async(address, 0, bytes, self.bind()?) };
        queued.map_err(failed("zero"))
    }

    /// The driver's stream, if there is a GPU.
    pub(super) fn driver(&self) -> Option<&Arc<CudaStream>> {
        self.0.stream.as_ref()
    }

    /// The driver's stream, its context current on this thread.
    pub(crate) fn bind(&self) -> Result<sys::CUstream, Error> {
        self.0.primary.bind()?;
        Ok(self.0.stream.as_ref().map_or(std::ptr::null_mut(), |stream| stream.cu_stream()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pinned bytes, allocated when first needed.
fn pinned<'a>(bytes: &'a mut Option<HostBuffer>, primary: &Primary) -> Result<&'a mut [u8], Error> {
    if bytes.is_none() {
        *bytes = Some(HostBuffer::in_context(primary, STAGING_BYTES)?);
    }
    Ok(bytes.as_mut().map_or(&mut [], HostBuffer::as_mut_slice))
}

/// A point in a stream's work.
pub struct Event(CudaEvent);

impl Event {
    /// Milliseconds from `earlier` to this event; waits for both.
    pub fn elapsed_ms(&self, earlier: &Event) -> Result<f32, Error> {
        earlier.0.elapsed_ms(&self.0).map_err(failed("time two events"))
    }

    /// Waits until the event has happened.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.0.synchronize().map_err(failed("wait for an event"))
    }
}
