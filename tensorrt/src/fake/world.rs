//! What a test's thread knows: objects that are alive, what happened, what must fail.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    ffi::c_void,
};

use crate::{
    log::Log,
    profiler::Layers,
    sys::{self, Sink},
};

#[derive(Default)]
pub(super) struct World {
    pub next: usize,
    pub live: BTreeMap<usize, Object>,
    pub events: Vec<String>,
    pub violations: Vec<String>,
    /// What a call writes to its sink and to the log before it fails.
    pub refusals: HashMap<&'static str, (&'static str, &'static str)>,
    pub host_tensor: bool,
}

#[derive(Default, Clone)]
pub(super) struct Object {
    pub kind: &'static str,
    pub points_to: BTreeMap<&'static str, usize>,
    pub user: usize,
    pub log: Option<sys::LogFn>,
    pub progress: Option<sys::ProgressFn>,
    pub report: Option<sys::ReportFn>,
    pub data: Vec<u8>,
    pub batch: Option<i64>,
}

thread_local!(static WORLD: RefCell<World> = RefCell::default());

pub(super) fn world<T>(body: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(body)
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

pub(super) fn create<T>(object: Object, points_to: &[(&'static str, usize)]) -> *mut T {
    world(|world| {
        world.next += 1;
        let points_to = points_to.iter().copied().collect();
        world.live.insert(world.next, Object { points_to, ..object });
        world.next as *mut T
    })
}

pub(super) fn kind(kind: &'static str) -> Object {
    Object { kind, ..Object::default() }
}

pub(super) fn get<T>(object: *mut T) -> Object {
    world(|world| world.live.get(&(object as usize)).cloned()).unwrap_or_default()
}

pub(super) fn change<T>(object: *mut T, body: impl FnOnce(&mut Object)) {
    world(|world| world.live.get_mut(&(object as usize)).map(body));
}

pub(super) unsafe extern "C" fn destroy<T>(object: *mut T) {
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
pub(super) fn refused(call: &'static str, error: Option<Sink>) -> bool {
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
