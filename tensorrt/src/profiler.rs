//! Times of layers.

use std::{
    ffi::{CStr, c_char, c_void},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Error, TensorRt, result::Handle, sys};

/// Names and milliseconds.
#[derive(Default)]
pub(crate) struct Layers(Mutex<Vec<(String, f32)>>);

/// A C++ profiler and the times that it has reported.
pub(crate) struct Profiler {
    handle: Handle<sys::Profiler>,
    layers: Arc<Layers>,
}

impl Profiler {
    pub(crate) fn new(tensorrt: &TensorRt) -> Result<Self, Error> {
        let layers = Arc::new(Layers::default());
        let handle = tensorrt.call("create a profiler", |shim, _| {
            let user = Arc::as_ptr(&layers).cast_mut().cast();
            // SAFETY: the user pointer is the list, which is dropped after the profiler.
            unsafe { Handle::new((shim.profiler_create)(user, receive), shim.profiler_destroy) }
        })?;
        Ok(Self { handle, layers })
    }

    pub(crate) fn get(&self) -> *mut sys::Profiler {
        self.handle.get()
    }

    /// The reported names and milliseconds.
    pub(crate) fn layers(&self) -> Vec<(String, f32)> {
        std::mem::take(&mut *self.layers.lock())
    }
}

impl Layers {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, f32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

unsafe extern "C" fn receive(user: *mut c_void, layer: *const c_char, ms: f32) {
    if layer.is_null() {
        return;
    }
    // SAFETY: the user pointer is the list of a live `Profiler`; TensorRT passes C strings.
    let (layers, layer) = unsafe { (&*user.cast::<Layers>(), CStr::from_ptr(layer)) };
    layers.lock().push((layer.to_string_lossy().into_owned(), ms));
}
