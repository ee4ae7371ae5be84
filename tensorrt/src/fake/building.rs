//! Loggers, builders, networks and configurations.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr::{null, null_mut},
};

use super::{
    create_or_refuse, tensor,
    world::{Object, change, create, event, get, kind, refused},
};
use crate::sys::{self, Sink};

pub(super) unsafe extern "C" fn logger_create(
    user: *mut c_void,
    log: sys::LogFn,
) -> *mut sys::Logger {
    create(Object { user: user as usize, log: Some(log), ..kind("logger") }, &[])
}

pub(super) unsafe extern "C" fn builder_create(
    _: sys::Entry,
    logger: *mut sys::Logger,
    error: Sink,
) -> *mut sys::Builder {
    create_or_refuse!("builder_create", error, kind("builder"), [("logger", logger as usize)])
}

pub(super) unsafe extern "C" fn builder_build(
    builder: *mut sys::Builder,
    _: *mut sys::Network,
    config: *mut sys::Config,
    error: Sink,
) -> *mut sys::Memory {
    if refused("builder_build", Some(error)) || !report_build(config) {
        return null_mut();
    }
    let plan = Object { data: b"plan".to_vec(), ..kind("plan") };
    create(plan, &[("builder", builder as usize)])
}

/// Two steps of a phase; false if the monitor stopped the build.
fn report_build(config: *mut sys::Config) -> bool {
    let monitor = get(config).points_to.get("monitor").copied();
    let monitor = monitor.map(|id| get(id as *mut sys::Monitor));
    let Some(Object { progress: Some(progress), user, .. }) = monitor else { return true };
    // SAFETY: the monitor's callback with its user pointer, which is alive with the monitor.
    let step =
        |step, steps| unsafe { progress(user as *mut c_void, c"tactics".as_ptr(), step, steps) };
    step(0, 2);
    let done = step(1, -1) && step(2, -1);
    step(-1, -1);
    done
}

pub(super) unsafe extern "C" fn memory_data(memory: *mut sys::Memory) -> *const c_void {
    match get(memory).data.as_slice() {
        b"plan" => b"plan".as_ptr().cast(),
        b"timings" => b"timings".as_ptr().cast(),
        _ => null(),
    }
}

pub(super) unsafe extern "C" fn memory_size(memory: *mut sys::Memory) -> usize {
    get(memory).data.len()
}

pub(super) unsafe extern "C" fn network_create(
    builder: *mut sys::Builder,
    error: Sink,
) -> *mut sys::Network {
    create_or_refuse!("network_create", error, kind("network"), [("builder", builder as usize)])
}

pub(super) unsafe extern "C" fn network_tensor_count(_: *mut sys::Network, _: bool) -> i32 {
    1
}

pub(super) unsafe extern "C" fn network_tensor(
    network: *mut sys::Network,
    input: bool,
    _: i32,
    out: *mut sys::Tensor,
) -> bool {
    let batch = get(network).batch.unwrap_or(-1);
    // SAFETY: the caller's own description.
    unsafe { *out = tensor(!input as i32, batch) };
    true
}

pub(super) unsafe extern "C" fn network_set_input_shape(
    network: *mut sys::Network,
    _: i32,
    dims: *const sys::Dims,
) -> bool {
    // SAFETY: the caller's own shape.
    let batch = unsafe { (*dims).sizes[0] };
    change(network, |network| network.batch = Some(batch));
    true
}

pub(super) unsafe extern "C" fn network_layer_count(_: *mut sys::Network) -> i32 {
    7
}

pub(super) unsafe extern "C" fn parser_create(
    _: sys::Entry,
    network: *mut sys::Network,
    logger: *mut sys::Logger,
    error: Sink,
) -> *mut sys::Parser {
    let points_to = [("network", network as usize), ("logger", logger as usize)];
    create_or_refuse!("parser_create", error, kind("parser"), points_to)
}

pub(super) unsafe extern "C" fn parser_parse(
    _: *mut sys::Parser,
    _: *const c_void,
    _: usize,
    _: *const c_char,
    error: Sink,
) -> bool {
    !refused("parser_parse", Some(error))
}

pub(super) unsafe extern "C" fn config_create(
    builder: *mut sys::Builder,
    error: Sink,
) -> *mut sys::Config {
    create_or_refuse!("config_create", error, kind("config"), [("builder", builder as usize)])
}

pub(super) unsafe extern "C" fn config_set_workspace(_: *mut sys::Config, bytes: usize) {
    event(&format!("workspace {bytes}"));
}

pub(super) unsafe extern "C" fn config_set_optimization_level(_: *mut sys::Config, level: i32) {
    event(&format!("level {level}"));
}

pub(super) unsafe extern "C" fn config_set_detailed(_: *mut sys::Config, _: bool) {}

pub(super) unsafe extern "C" fn config_set_monitor(
    config: *mut sys::Config,
    monitor: *mut sys::Monitor,
) {
    change(config, |config| config.points_to.extend([("monitor", monitor as usize)]));
}

pub(super) unsafe extern "C" fn config_set_cache(
    config: *mut sys::Config,
    cache: *mut sys::Cache,
) -> bool {
    if get(cache).data == b"other GPU" {
        return false;
    }
    change(config, |config| config.points_to.extend([("cache", cache as usize)]));
    true
}

pub(super) unsafe extern "C" fn config_serialize_cache(
    _: *mut sys::Config,
    _: Sink,
) -> *mut sys::Memory {
    create(Object { data: b"timings".to_vec(), ..kind("memory") }, &[])
}

pub(super) unsafe extern "C" fn config_add_profile(
    _: *mut sys::Config,
    _: *mut sys::Profile,
) -> i32 {
    if refused("config_add_profile", None) { -1 } else { 3 }
}

pub(super) unsafe extern "C" fn profile_create(_: *mut sys::Builder, _: Sink) -> *mut sys::Profile {
    usize::MAX as *mut sys::Profile
}

pub(super) unsafe extern "C" fn profile_set(
    _: *mut sys::Profile,
    name: *const c_char,
    bound: i32,
    dims: *const sys::Dims,
) -> bool {
    // SAFETY: the caller's own name and shape.
    let (name, dims) = unsafe { (CStr::from_ptr(name), *dims) };
    event(&format!("{} {bound} {:?}", name.to_string_lossy(), dims.shape()));
    !refused("profile_set", None)
}

pub(super) unsafe extern "C" fn cache_create(
    _: *mut sys::Config,
    data: *const c_void,
    size: usize,
    error: Sink,
) -> *mut sys::Cache {
    let data = match size {
        0 => Vec::new(),
        // SAFETY: the caller's own bytes.
        _ => unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) }.to_vec(),
    };
    if data == b"damaged" {
        return null_mut();
    }
    create_or_refuse!("cache_create", error, Object { data, ..kind("cache") }, [])
}

pub(super) unsafe extern "C" fn monitor_create(
    user: *mut c_void,
    progress: sys::ProgressFn,
) -> *mut sys::Monitor {
    create(Object { user: user as usize, progress: Some(progress), ..kind("monitor") }, &[])
}
