//! The safe level against the fake shim: order of destruction, errors, checks.

mod build;
mod drops;
mod run;

use std::{path::Path, sync::Arc};

use crate::{
    Builder, Config, Context, Engine, Error, Network, Runtime,
    cuda::{Buffer, Device, Stream},
    fake,
};

fn parsed() -> (Builder, Network, Config) {
    let builder = Builder::new(&fake::tensorrt()).expect("a builder");
    let mut network = builder.network().expect("a network");
    network.parse(b"onnx", Path::new("/a/model.onnx")).expect("parsed");
    let config = builder.config().expect("a configuration");
    (builder, network, config)
}

fn engine() -> Engine {
    let runtime = Runtime::new(&fake::tensorrt()).expect("a runtime");
    runtime.deserialize(b"plan").expect("an engine")
}

fn buffer(address: u64, len: usize) -> Arc<Buffer> {
    Arc::new(Buffer::absent(address, len))
}

/// A stream of a GPU that is not there.
fn stream() -> Stream {
    Device::host_memory().stream().expect("a stream")
}

/// A context of batch 2 with everything that it needs: 24 bytes of x, 20 of y.
fn ready() -> Context {
    let mut context = engine().context().expect("a context");
    context.set_memory(buffer(0x100, 100)).expect("enough");
    context.bind("x", buffer(0x1000, 24), 0).expect("bound");
    context.bind("y", buffer(0x2000, 20), 0).expect("bound");
    context.set_shape("x", &[2, 3]).expect("a shape");
    context
}

fn refused<T>(result: Result<T, Error>) -> Error {
    result.err().expect("an error")
}
