//! A shim without TensorRT, for tests: objects are numbers, and a world per thread knows which are
//! alive and what they point to.

mod building;
mod running;
mod world;

use std::ptr::null_mut;

use crate::{
    TensorRt, Version,
    loader::{Entries, Libraries},
    sys::{self, Shim},
};
use building::*;
use running::*;
use world::destroy;
pub(crate) use world::{add_host_tensor, allow, assert_all_gone, event, events, refuse};

/// A `TensorRt` of this thread's world.
pub(crate) fn tensorrt() -> TensorRt {
    let entries = Entries {
        builder: null_mut(),
        runtime: null_mut(),
        parser: null_mut(),
        registry: null_mut(),
    };
    let version = Version { major: 10, minor: 6, patch: 0 };
    let tensorrt = TensorRt::with(&SHIM, Libraries { entries, version, folder: None });
    tensorrt.expect("a fake logger")
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

macro_rules! create_or_refuse {
    ($call:literal, $error:expr, $object:expr, $points_to:expr) => {
        if refused($call, Some($error)) { null_mut() } else { create($object, &$points_to) }
    };
}
use create_or_refuse;

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
    plugin_load,
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
