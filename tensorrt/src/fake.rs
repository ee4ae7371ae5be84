//! A shim without TensorRT, for tests: objects are numbers, and a world per thread knows which are
//! alive and what they point to.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    ffi::{CStr, c_char, c_void},
    ptr::{null, null_mut},
};

use crate::{
    TensorRt, Version,
    loader::{Entries, Libraries},
    log::Log,
    profiler::Layers,
    sys::{self, Shim, Sink},
};

#[derive(Default)]
struct World {
    next: usize,
    live: BTreeMap<usize, Object>,
    events: Vec<String>,
    violations: Vec<String>,
    /// What a call writes to its sink and to the log before it fails.
    refusals: HashMap<&'static str, (&'static str, &'static str)>,
    host_tensor: bool,
}

#[derive(Default, Clone)]
struct Object {
    kind: &'static str,
    points_to: BTreeMap<&'static str, usize>,
    user: usize,
    log: Option<sys::LogFn>,
    progress: Option<sys::ProgressFn>,
    report: Option<sys::ReportFn>,
    data: Vec<u8>,
    batch: Option<i64>,
}

thread_local!(static WORLD: RefCell<World> = RefCell::default());

fn world<T>(body: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(body)
}

/// A `TensorRt` of this thread's world.
pub(crate) fn tensorrt() -> TensorRt {
    let entries = Entries { builder: null_mut(), runtime: null_mut(), parser: null_mut() };
    let version = Version { major: 10, minor: 6, patch: 0 };
    let tensorrt = TensorRt::with(&SHIM, Libraries { entries, version, folder: None });
    tensorrt.expect("a fake logger")
}

/// Makes a call fail with this message and log line, until the next [`allow`].
pub(crate) fn refuse(call: &'static str, message: &'static str, log: &'static str) {
    world(|world| world.refusals.insert(call, (message, log)));
}

pub(crate) fn allow() {
    world(|world| world.refusals.clear());
}

/// Gives engines a third tensor, in host memory.
pub(crate) fn add_host_tensor() {
    world(|world| world.host_tensor = true);
}

pub(crate) fn event(text: &str) {
    world(|world| world.events.push(text.into()));
}

/// What happened so far, in order; clears it.
pub(crate) fn events() -> Vec<String> {
    world(|world| std::mem::take(&mut world.events))
}

/// Fails if an object was destroyed under another, or is still alive.
pub(crate) fn assert_all_gone() {
    let (violations, live) = world(|world| {
        let live: Vec<_> = world.live.values().map(|object| object.kind).collect();
        (std::mem::take(&mut world.violations), live)
    });
    assert!(violations.is_empty(), "{violations:?}");
    assert!(live.is_empty(), "still alive: {live:?}");
}

/// What callbacks write to must go after the C++ object that calls them.
impl Drop for Log {
    fn drop(&mut self) {
        event("log dropped");
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        event("layers dropped");
    }
}

fn create<T>(object: Object, points_to: &[(&'static str, usize)]) -> *mut T {
    world(|world| {
        world.next += 1;
        let points_to = points_to.iter().copied().collect();
        world.live.insert(world.next, Object { points_to, ..object });
        world.next as *mut T
    })
}

fn kind(kind: &'static str) -> Object {
    Object { kind, ..Object::default() }
}

fn get<T>(object: *mut T) -> Object {
    world(|world| world.live.get(&(object as usize)).cloned()).unwrap_or_default()
}

fn change<T>(object: *mut T, body: impl FnOnce(&mut Object)) {
    world(|world| world.live.get_mut(&(object as usize)).map(body));
}

unsafe extern "C" fn destroy<T>(object: *mut T) {
    world(|world| {
        let id = object as usize;
        let Some(gone) = world.live.remove(&id) else {
            return world.violations.push(format!("{id} destroyed twice"));
        };
        let above =
            world.live.values().filter(|other| other.points_to.values().any(|to| *to == id));
        let broken = above.map(|other| format!("{} gone before {}", gone.kind, other.kind));
        world.violations.extend(broken.collect::<Vec<_>>());
        world.events.push(format!("{} destroyed", gone.kind));
    });
}

/// Whether a call must fail; says so as TensorRT would.
fn refused(call: &'static str, error: Option<Sink>) -> bool {
    let refusal = world(|world| world.refusals.get(call).copied());
    let Some((message, line)) = refusal else { return false };
    let logger = world(|world| world.live.values().find(|object| object.log.is_some()).cloned());
    if let (Some(Object { log: Some(log), user, .. }), false) = (logger, line.is_empty()) {
        let line = std::ffi::CString::new(line).expect("a C string");
        // SAFETY: the logger's callback with its user pointer, which is alive with the logger.
        unsafe { log(user as *mut c_void, 1, line.as_ptr()) };
    }
    if let Some(error) = error {
        // SAFETY: the sink of the call being made.
        unsafe { (error.write)(error.user, message.as_ptr().cast(), message.len()) };
    }
    true
}

macro_rules! create_or_refuse {
    ($call:literal, $error:expr, $object:expr, $points_to:expr) => {
        if refused($call, Some($error)) { null_mut() } else { create($object, &$points_to) }
    };
}

unsafe extern "C" fn logger_create(user: *mut c_void, log: sys::LogFn) -> *mut sys::Logger {
    create(Object { user: user as usize, log: Some(log), ..kind("logger") }, &[])
}

unsafe extern "C" fn builder_create(
    _: sys::Entry,
    logger: *mut sys::Logger,
    error: Sink,
) -> *mut sys::Builder {
    create_or_refuse!("builder_create", error, kind("builder"), [("logger", logger as usize)])
}

unsafe extern "C" fn builder_build(
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

unsafe extern "C" fn memory_data(memory: *mut sys::Memory) -> *const c_void {
    match get(memory).data.as_slice() {
        b"plan" => b"plan".as_ptr().cast(),
        b"timings" => b"timings".as_ptr().cast(),
        _ => null(),
    }
}

unsafe extern "C" fn memory_size(memory: *mut sys::Memory) -> usize {
    get(memory).data.len()
}

unsafe extern "C" fn network_create(builder: *mut sys::Builder, error: Sink) -> *mut sys::Network {
    create_or_refuse!("network_create", error, kind("network"), [("builder", builder as usize)])
}

unsafe extern "C" fn network_tensor_count(_: *mut sys::Network, _: bool) -> i32 {
    1
}

unsafe extern "C" fn network_tensor(
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

/// `x` f32 [batch, 3] in, `y` bf16 [batch, 5] out, `size` i64 [2] in, on the host.
fn tensor(index: i32, batch: i64) -> sys::Tensor {
    let (name, dtype, shape) = match index {
        0 => (c"x", 0, [batch, 3]),
        1 => (c"y", 7, [batch, 5]),
        _ => (c"size", 8, [1, 2]),
    };
    let dims = sys::Dims::new(&shape).expect("rank 2");
    sys::Tensor { name: name.as_ptr(), dtype, input: index != 1, host: index == 2, dims }
}

unsafe extern "C" fn network_set_input_shape(
    network: *mut sys::Network,
    _: i32,
    dims: *const sys::Dims,
) -> bool {
    // SAFETY: the caller's own shape.
    let batch = unsafe { (*dims).sizes[0] };
    change(network, |network| network.batch = Some(batch));
    true
}

unsafe extern "C" fn network_layer_count(_: *mut sys::Network) -> i32 {
    7
}

unsafe extern "C" fn parser_create(
    _: sys::Entry,
    network: *mut sys::Network,
    logger: *mut sys::Logger,
    error: Sink,
) -> *mut sys::Parser {
    let points_to = [("network", network as usize), ("logger", logger as usize)];
    create_or_refuse!("parser_create", error, kind("parser"), points_to)
}

unsafe extern "C" fn parser_parse(
    _: *mut sys::Parser,
    _: *const c_void,
    _: usize,
    _: *const c_char,
    error: Sink,
) -> bool {
    !refused("parser_parse", Some(error))
}

unsafe extern "C" fn config_create(builder: *mut sys::Builder, error: Sink) -> *mut sys::Config {
    create_or_refuse!("config_create", error, kind("config"), [("builder", builder as usize)])
}

unsafe extern "C" fn config_set_workspace(_: *mut sys::Config, bytes: usize) {
    event(&format!("workspace {bytes}"));
}

unsafe extern "C" fn config_set_optimization_level(_: *mut sys::Config, level: i32) {
    event(&format!("level {level}"));
}

unsafe extern "C" fn config_set_detailed(_: *mut sys::Config, _: bool) {}

unsafe extern "C" fn config_set_monitor(config: *mut sys::Config, monitor: *mut sys::Monitor) {
    change(config, |config| config.points_to.extend([("monitor", monitor as usize)]));
}

unsafe extern "C" fn config_set_cache(config: *mut sys::Config, cache: *mut sys::Cache) -> bool {
    if get(cache).data == b"other GPU" {
        return false;
    }
    change(config, |config| config.points_to.extend([("cache", cache as usize)]));
    true
}

unsafe extern "C" fn config_serialize_cache(_: *mut sys::Config, _: Sink) -> *mut sys::Memory {
    create(Object { data: b"timings".to_vec(), ..kind("memory") }, &[])
}

unsafe extern "C" fn config_add_profile(_: *mut sys::Config, _: *mut sys::Profile) -> i32 {
    if refused("config_add_profile", None) { -1 } else { 3 }
}

unsafe extern "C" fn profile_create(_: *mut sys::Builder, _: Sink) -> *mut sys::Profile {
    usize::MAX as *mut sys::Profile
}

unsafe extern "C" fn profile_set(
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

unsafe extern "C" fn cache_create(
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

unsafe extern "C" fn monitor_create(
    user: *mut c_void,
    progress: sys::ProgressFn,
) -> *mut sys::Monitor {
    create(Object { user: user as usize, progress: Some(progress), ..kind("monitor") }, &[])
}

unsafe extern "C" fn runtime_create(
    _: sys::Entry,
    logger: *mut sys::Logger,
    error: Sink,
) -> *mut sys::Runtime {
    create_or_refuse!("runtime_create", error, kind("runtime"), [("logger", logger as usize)])
}

unsafe extern "C" fn runtime_deserialize(
    runtime: *mut sys::Runtime,
    _: *const c_void,
    _: usize,
    error: Sink,
) -> *mut sys::Engine {
    create_or_refuse!("deserialize", error, kind("engine"), [("runtime", runtime as usize)])
}

unsafe extern "C" fn engine_tensor_count(_: *mut sys::Engine) -> i32 {
    if world(|world| world.host_tensor) { 3 } else { 2 }
}

unsafe extern "C" fn engine_tensor(_: *mut sys::Engine, index: i32, out: *mut sys::Tensor) -> bool {
    // SAFETY: the caller's own description.
    unsafe { *out = tensor(index, -1) };
    true
}

unsafe extern "C" fn engine_profile_count(_: *mut sys::Engine) -> i32 {
    2
}

unsafe extern "C" fn engine_profile_shape(
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
unsafe extern "C" fn engine_activation_bytes(_: *mut sys::Engine, profile: i32) -> i64 {
    100 * (i64::from(profile) + 1)
}

unsafe extern "C" fn engine_layer_count(_: *mut sys::Engine) -> i32 {
    4
}

unsafe extern "C" fn engine_layers(_: *mut sys::Engine, json: Sink, error: Sink) -> bool {
    let text = r#"{"Layers": []}"#;
    // SAFETY: the sink of the call being made.
    unsafe { (json.write)(json.user, text.as_ptr().cast(), text.len()) };
    !refused("engine_layers", Some(error))
}

unsafe extern "C" fn context_create(engine: *mut sys::Engine, error: Sink) -> *mut sys::Context {
    create_or_refuse!("context_create", error, kind("context"), [("engine", engine as usize)])
}

unsafe extern "C" fn context_set_profile(
    context: *mut sys::Context,
    profile: i32,
    _: *mut c_void,
    _: Sink,
) -> bool {
    change(context, |context| context.batch = None);
    profile < 2
}

unsafe extern "C" fn context_set_memory(_: *mut sys::Context, address: u64, bytes: i64) {
    event(&format!("memory {address:#x} {bytes}"));
}

unsafe extern "C" fn context_set_shape(
    context: *mut sys::Context,
    _: *const c_char,
    dims: *const sys::Dims,
) -> bool {
    // SAFETY: the caller's own shape.
    let batch = unsafe { (*dims).sizes[0] };
    change(context, |context| context.batch = Some(batch));
    !refused("context_set_shape", None)
}

unsafe extern "C" fn context_shape(
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

unsafe extern "C" fn context_bind(_: *mut sys::Context, name: *const c_char, address: u64) -> bool {
    // SAFETY: the caller's own name.
    event(&format!("{} at {address:#x}", unsafe { CStr::from_ptr(name) }.to_string_lossy()));
    true
}

unsafe extern "C" fn context_enqueue(
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

unsafe extern "C" fn context_set_profiler(
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

unsafe extern "C" fn profiler_create(
    user: *mut c_void,
    report: sys::ReportFn,
) -> *mut sys::Profiler {
    create(Object { user: user as usize, report: Some(report), ..kind("profiler") }, &[])
}

static SHIM: Shim = Shim {
    size: size_of::<Shim>() as u32,
    headers_major: 10,
    logger_create,
    logger_destroy: destroy,
    builder_create,
    builder_destroy: destroy,
    builder_build,
    memory_data,
    memory_size,
    memory_destroy: destroy,
    network_create,
    network_destroy: destroy,
    network_tensor_count,
    network_tensor,
    network_set_input_shape,
    network_layer_count,
    parser_create,
    parser_parse,
    parser_destroy: destroy,
    config_create,
    config_destroy: destroy,
    config_set_workspace,
    config_set_optimization_level,
    config_set_detailed,
    config_set_monitor,
    config_set_cache,
    config_serialize_cache,
    config_add_profile,
    profile_create,
    profile_set,
    cache_create,
    cache_destroy: destroy,
    monitor_create,
    monitor_destroy: destroy,
    runtime_create,
    runtime_destroy: destroy,
    runtime_deserialize,
    engine_destroy: destroy,
    engine_tensor_count,
    engine_tensor,
    engine_profile_count,
    engine_profile_shape,
    engine_activation_bytes,
    engine_layer_count,
    engine_layers,
    context_create,
    context_destroy: destroy,
    context_set_profile,
    context_set_memory,
    context_set_shape,
    context_shape,
    context_bind,
    context_enqueue,
    context_set_profiler,
    profiler_create,
    profiler_destroy: destroy,
};
