//! A build's progress, and its cancellation.

use std::{
    any::Any,
    collections::HashMap,
    ffi::{CStr, c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{BuildProgress, Error, TensorRt, result::Handle, sys};

type Callback = Box<dyn FnMut(BuildProgress) -> bool + Send>;

/// A progress callback and the C++ monitor that calls it.
pub(crate) struct Progress {
    monitor: Handle<sys::Monitor>,
    state: Arc<Mutex<State>>,
}

struct State {
    callback: Callback,
    /// Steps of the phases that are running.
    steps: HashMap<String, u32>,
    cancelled: bool,
    panic: Option<String>,
}

impl Progress {
    pub(crate) fn new(tensorrt: &TensorRt, callback: Callback) -> Result<Self, Error> {
        let steps = HashMap::new();
        let state = Arc::new(Mutex::new(State { callback, steps, cancelled: false, panic: None }));
        let monitor = tensorrt.call("create a progress monitor", |shim, _| {
            let user = Arc::as_ptr(&state).cast_mut().cast();
            // SAFETY: the user pointer is the state, which is dropped after the monitor.
            unsafe { Handle::new((shim.monitor_create)(user, receive), shim.monitor_destroy) }
        })?;
        Ok(Self { monitor, state })
    }

    pub(crate) fn monitor(&self) -> *mut sys::Monitor {
        self.monitor.get()
    }

    /// Forgets the last build.
    pub(crate) fn start(&self) {
        let mut state = lock(&self.state);
        state.steps.clear();
        (state.cancelled, state.panic) = (false, None);
    }

    /// Fails if the callback panicked, or stopped a build that then failed.
    pub(crate) fn check(&self, built: bool) -> Result<(), Error> {
        let state = lock(&self.state);
        match &state.panic {
            Some(message) => Err(callback_panicked("progress", message)),
            None if state.cancelled && !built => Err(Error::Cancelled),
            None => Ok(()),
        }
    }
}

impl State {
    /// Once stopped, it stays stopped and the callback is not asked again.
    fn report(&mut self, phase: &str, step: i32, steps: i32) -> bool {
        if self.cancelled {
            return false;
        }
        let Some(progress) = self.progress(phase, step, steps) else { return true };
        let answer = catch_unwind(AssertUnwindSafe(|| (self.callback)(progress)));
        self.cancelled = !answer.as_ref().is_ok_and(|&go_on| go_on);
        self.panic = answer.err().map(|payload| panic_message(&*payload));
        !self.cancelled
    }

    /// TensorRT says the number of steps only when a phase starts, and no step when it ends.
    fn progress(&mut self, phase: &str, step: i32, steps: i32) -> Option<BuildProgress> {
        if let Ok(steps) = u32::try_from(steps) {
            self.steps.insert(phase.into(), steps);
        }
        let steps = *self.steps.get(phase)?;
        let step = u32::try_from(step).ok().filter(|&step| step < steps);
        if step.is_none() {
            self.steps.remove(phase);
        }
        Some(BuildProgress { phase: phase.into(), step: step.unwrap_or(steps), steps })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn receive(
    user: *mut c_void,
    phase: *const c_char,
    step: i32,
    steps: i32,
) -> bool {
    if phase.is_null() {
        return true;
    }
    // SAFETY: the user pointer is the state of a live `Progress`; TensorRT passes C strings.
    let (state, phase) = unsafe { (&*user.cast::<Mutex<State>>(), CStr::from_ptr(phase)) };
    lock(state).report(&phase.to_string_lossy(), step, steps)
}

pub(crate) fn callback_panicked(callback: &'static str, message: &str) -> Error {
    Error::CallbackPanicked { callback, message: message.into() }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").into()
}
