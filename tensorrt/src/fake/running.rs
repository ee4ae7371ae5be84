//! Plugins, runtimes, engines and contexts.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr::null_mut,
};

use super::{
    create_or_refuse, tensor,
    world::{Object, change, create, event, get, kind, refused, world},
};
use crate::sys::{self, Sink};

pub(super) unsafe extern "C" fn plugin_load(
    _: sys::Entry,
    path: *const c_char,
    error: Sink,
) -> bool {
    // SAFETY: the caller's own path.
    event(&format!("plugin {}", unsafe { CStr::from_ptr(path) }.to_string_lossy()));
    !refused("plugin_load", Some(error))
}

pub(super) unsafe extern "C" fn runtime_create(
    _: sys::Entry,
    logger: *mut sys::Logger,
    error: Sink,
) -> *mut sys::Runtime {
    create_or_refuse!("runtime_create", error, kind("runtime"), [("logger", logger as usize)])
}

pub(super) unsafe extern "C" fn runtime_deserialize(
    runtime: *mut sys::Runtime,
    _: *const c_void,
    _: usize,
    error: Sink,
) -> *mut sys::Engine {
    create_or_refuse!("deserialize", error, kind("engine"), [("runtime", runtime as usize)])
}

pub(super) unsafe extern "C" fn engine_tensor_count(_: *mut sys::Engine) -> i32 {
    if world(|world| world.host_tensor) { 3 } else { 2 }
}

pub(super) unsafe extern "C" fn engine_tensor(
    _: *mut sys::Engine,
    index: i32,
    out: *mut sys::Tensor,
) -> bool {
    // SAFETY: the caller's own description.
    unsafe { *out = tensor(index, -1) };
    true
}

pub(super) unsafe extern "C" fn engine_profile_count(_: *mut sys::Engine) -> i32 {
    2
}

pub(super) unsafe extern "C" fn engine_profile_shape(
    _: *mut sys::Engine,
    _: *const c_char,
    profile: i32,
    bound: i32,
    out: *mut sys::Dims,
) {
    let dims = sys::Dims::new(&[i64::from(10 * profile + bound), 3]).expect("rank 2");
    if profile < 2 {
        // SAFETY: the caller's own shape.
        unsafe { *out = dims };
    }
}

/// 100 bytes in profile 0, 200 in profile 1.
pub(super) unsafe extern "C" fn engine_activation_bytes(_: *mut sys::Engine, profile: i32) -> i64 {
    100 * (i64::from(profile) + 1)
}

pub(super) unsafe extern "C" fn engine_layer_count(_: *mut sys::Engine) -> i32 {
    4
}

pub(super) unsafe extern "C" fn engine_layers(
    _: *mut sys::Engine,
    json: Sink,
    error: Sink,
) -> bool {
    let text = r#"{"Layers": []}"#;
    // SAFETY: the sink of the call being made.
    unsafe { (json.write)(json.user, text.as_ptr().cast(), text.len()) };
    !refused("engine_layers", Some(error))
}

pub(super) unsafe extern "C" fn context_create(
    engine: *mut sys::Engine,
    error: Sink,
) -> *mut sys::Context {
    create_or_refuse!("context_create", error, kind("context"), [("engine", engine as usize)])
}

pub(super) unsafe extern "C" fn context_set_profile(
    context: *mut sys::Context,
    profile: i32,
    _: *mut c_void,
    _: Sink,
) -> bool {
    change(context, |context| context.batch = None);
    profile < 2
}

pub(super) unsafe extern "C" fn context_set_memory(_: *mut sys::Context, address: u64, bytes: i64) {
    event(&format!("memory {address:#x} {bytes}"));
}

pub(super) unsafe extern "C" fn context_set_shape(
    context: *mut sys::Context,
    _: *const c_char,
    dims: *const sys::Dims,
) -> bool {
    // SAFETY: the caller's own shape.
    let batch = unsafe { (*dims).sizes[0] };
    change(context, |context| context.batch = Some(batch));
    !refused("context_set_shape", None)
}

pub(super) unsafe extern "C" fn context_shape(
    context: *mut sys::Context,
    name: *const c_char,
    out: *mut sys::Dims,
) {
    // SAFETY: the caller's own name and shape.
    unsafe {
        let index = (CStr::from_ptr(name) != c"x") as i32;
        *out = tensor(index, get(context).batch.unwrap_or(-1)).dims;
    }
}

pub(super) unsafe extern "C" fn context_bind(
    _: *mut sys::Context,
    name: *const c_char,
    address: u64,
) -> bool {
    // SAFETY: the caller's own name.
    event(&format!("{} at {address:#x}", unsafe { CStr::from_ptr(name) }.to_string_lossy()));
    true
}

pub(super) unsafe extern "C" fn context_enqueue(
    context: *mut sys::Context,
    _: *mut c_void,
    error: Sink,
) -> bool {
    event("enqueue");
    if refused("context_enqueue", Some(error)) {
        return false;
    }
    let profiler = get(context).points_to.get("profiler").copied();
    let profiler = profiler.map(|id| get(id as *mut sys::Profiler));
    if let Some(Object { report: Some(report), user, .. }) = profiler {
        for (layer, ms) in [(c"gemm", 1.5), (c"norm", 0.25)] {
            // SAFETY: the profiler's callback with its user pointer, alive with the profiler.
            unsafe { report(user as *mut c_void, layer.as_ptr(), ms) };
        }
    }
    true
}

pub(super) unsafe extern "C" fn context_set_profiler(
    context: *mut sys::Context,
    profiler: *mut sys::Profiler,
) {
    change(context, |context| {
        context.points_to.remove("profiler");
        if !profiler.is_null() {
            context.points_to.insert("profiler", profiler as usize);
        }
    });
}

pub(super) unsafe extern "C" fn profiler_create(
    user: *mut c_void,
    report: sys::ReportFn,
) -> *mut sys::Profiler {
    create(Object { user: user as usize, report: Some(report), ..kind("profiler") }, &[])
}
