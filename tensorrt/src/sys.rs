//! The C interface of shim/bernini_shim.h, line by line; what each function promises is said there.

use std::ffi::{c_char, c_void};

macro_rules! opaque {
    ($($name:ident)*) => {
        $(
            /// An object behind the interface.
            #[repr(C)]
            pub(crate) struct $name([u8; 0]);
        )*
    };
}

opaque!(Logger Builder Network Parser Config Profile Cache Monitor Memory Runtime Engine Context Profiler);

/// Receives text: appends `size` bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sink {
    pub user: *mut c_void,
    pub write: unsafe extern "C" fn(*mut c_void, *const c_char, usize),
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Dims {
    pub rank: i32,
    pub sizes: [i64; 8],
}

#[repr(C)]
pub(crate) struct Tensor {
    pub name: *const c_char,
    pub dtype: i32,
    pub input: bool,
    pub host: bool,
    pub dims: Dims,
}

pub(crate) const MIN: i32 = 0;
pub(crate) const OPT: i32 = 1;
pub(crate) const MAX: i32 = 2;

pub(crate) type LogFn = unsafe extern "C" fn(*mut c_void, i32, *const c_char);
pub(crate) type ProgressFn = unsafe extern "C" fn(*mut c_void, *const c_char, i32, i32) -> bool;
pub(crate) type ReportFn = unsafe extern "C" fn(*mut c_void, *const c_char, f32);
pub(crate) type Destroy<T> = unsafe extern "C" fn(*mut T);
/// A function of TensorRT's libraries, called by the shim only.
pub(crate) type Entry = *mut c_void;

macro_rules! table {
    ($($name:ident: ($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of the shim.
        #[repr(C)]
        pub(crate) struct Shim {
            pub size: u32,
            pub headers_major: u32,
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }
    };
}

table! {
    logger_create: (*mut c_void, LogFn) -> *mut Logger;
    logger_destroy: (*mut Logger);
    builder_create: (Entry, *mut Logger, Sink) -> *mut Builder;
    builder_destroy: (*mut Builder);
    builder_build: (*mut Builder, *mut Network, *mut Config, Sink) -> *mut Memory;
    memory_data: (*mut Memory) -> *const c_void;
    memory_size: (*mut Memory) -> usize;
    memory_destroy: (*mut Memory);
    network_create: (*mut Builder, Sink) -> *mut Network;
    network_destroy: (*mut Network);
    network_tensor_count: (*mut Network, bool) -> i32;
    network_tensor: (*mut Network, bool, i32, *mut Tensor) -> bool;
    network_set_input_shape: (*mut Network, i32, *const Dims) -> bool;
    network_layer_count: (*mut Network) -> i32;
    parser_create: (Entry, *mut Network, *mut Logger, Sink) -> *mut Parser;
    parser_parse: (*mut Parser, *const c_void, usize, *const c_char, Sink) -> bool;
    parser_destroy: (*mut Parser);
    config_create: (*mut Builder, Sink) -> *mut Config;
    config_destroy: (*mut Config);
    config_set_workspace: (*mut Config, usize);
    config_set_optimization_level: (*mut Config, i32);
    config_set_detailed: (*mut Config, bool);
    config_set_monitor: (*mut Config, *mut Monitor);
    config_set_cache: (*mut Config, *mut Cache) -> bool;
    config_serialize_cache: (*mut Config, Sink) -> *mut Memory;
    config_add_profile: (*mut Config, *mut Profile) -> i32;
    profile_create: (*mut Builder, Sink) -> *mut Profile;
    profile_set: (*mut Profile, *const c_char, i32, *const Dims) -> bool;
    cache_create: (*mut Config, *const c_void, usize, Sink) -> *mut Cache;
    cache_destroy: (*mut Cache);
    monitor_create: (*mut c_void, ProgressFn) -> *mut Monitor;
    monitor_destroy: (*mut Monitor);
    plugin_load: (Entry, *const c_char, Sink) -> bool;
    runtime_create: (Entry, *mut Logger, Sink) -> *mut Runtime;
    runtime_destroy: (*mut Runtime);
    runtime_deserialize: (*mut Runtime, *const c_void, usize, Sink) -> *mut Engine;
    engine_destroy: (*mut Engine);
    engine_tensor_count: (*mut Engine) -> i32;
    engine_tensor: (*mut Engine, i32, *mut Tensor) -> bool;
    engine_profile_count: (*mut Engine) -> i32;
    engine_profile_shape: (*mut Engine, *const c_char, i32, i32, *mut Dims);
    engine_activation_bytes: (*mut Engine, i32) -> i64;
    engine_layer_count: (*mut Engine) -> i32;
    engine_layers: (*mut Engine, Sink, Sink) -> bool;
    context_create: (*mut Engine, Sink) -> *mut Context;
    context_destroy: (*mut Context);
    context_set_profile: (*mut Context, i32, *mut c_void, Sink) -> bool;
    context_set_memory: (*mut Context, u64, i64);
    context_set_shape: (*mut Context, *const c_char, *const Dims) -> bool;
    context_shape: (*mut Context, *const c_char, *mut Dims);
    context_bind: (*mut Context, *const c_char, u64) -> bool;
    context_enqueue: (*mut Context, *mut c_void, Sink) -> bool;
    context_set_profiler: (*mut Context, *mut Profiler);
    profiler_create: (*mut c_void, ReportFn) -> *mut Profiler;
    profiler_destroy: (*mut Profiler);
}

#[cfg(feature = "shim")]
unsafe extern "C" {
    fn bernini_shim() -> *const Shim;
}

/// The compiled shim's functions; `None` without the feature `shim`.
pub(crate) fn shim() -> Option<&'static Shim> {
    #[cfg(feature = "shim")]
    {
        // SAFETY: the function returns a static table, complete before it returns; the test below
        // compares its size with ours.
        Some(unsafe { &*bernini_shim() })
    }
    #[cfg(not(feature = "shim"))]
    None
}

#[cfg(all(test, feature = "shim"))]
mod tests {
    #[test]
    fn the_table_has_the_size_of_the_header_s() {
        let table = super::shim().expect("compiled in");
        assert_eq!(table.size as usize, size_of::<super::Shim>());
        assert!(table.headers_major >= 10);
    }
}
