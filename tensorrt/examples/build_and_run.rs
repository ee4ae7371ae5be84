//! Builds an engine from an ONNX file and times it: `build_and_run MODEL.onnx [input=1x3x5 ...]`.
//! Inputs that are not named must have fixed shapes in the file. All inputs are zero.
#![allow(clippy::print_stdout)]

use std::{env, error::Error, fs, path::Path, sync::Arc};

use bernini_tensorrt::{
    Builder, Context, Engine, Runtime, TensorRt,
    cuda::{Buffer, Device, Stream},
    restart_with_library_path,
};

fn main() -> Result<(), Box<dyn Error>> {
    restart_with_library_path()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, shapes @ ..] = &arguments[..] else { return Err("no MODEL.onnx given".into()) };
    let tensorrt = TensorRt::open()?;
    let device = Device::open(0)?;
    println!("TensorRT {} on {}", tensorrt.version(), device.name());
    let engine = build(&tensorrt, Path::new(model), shapes)?;
    println!("{} layers, {} bytes", engine.layer_count(), engine.activation_bytes(0));
    let stream = device.stream()?;
    let mut context = ready(&engine, &device, &stream)?;
    context.enqueue(&stream)?;
    let start = stream.record()?;
    (0..10).try_for_each(|_| context.enqueue(&stream))?;
    println!("{:.3} ms", stream.record()?.elapsed_ms(&start)? / 10.0);
    for (layer, ms) in context.profile_layers(&stream)? {
        println!("{ms:9.3} ms  {layer}");
    }
    Ok(())
}

fn build(tensorrt: &TensorRt, model: &Path, shapes: &[String]) -> Result<Engine, Box<dyn Error>> {
    let builder = Builder::new(tensorrt)?;
    let mut network = builder.network()?;
    network.parse(&fs::read(model)?, model)?;
    for shape in shapes {
        let (name, sizes) = shape.split_once('=').ok_or("a shape is name=1x2x3")?;
        let sizes = sizes.split('x').map(str::parse).collect::<Result<Vec<i64>, _>>()?;
        network.set_input_shape(name, &sizes)?;
    }
    let mut config = builder.config()?;
    config.set_detailed(true);
    Ok(Runtime::new(tensorrt)?.deserialize(builder.build(&network, &config)?.as_ref())?)
}

fn ready(engine: &Engine, device: &Device, stream: &Stream) -> Result<Context, Box<dyn Error>> {
    let mut context = engine.context()?;
    let memory = Buffer::new(device, engine.activation_bytes(0) as usize)?;
    context.set_memory(Arc::new(memory))?;
    for tensor in engine.tensors() {
        let bytes = tensor.dtype.bytes(&context.shape(&tensor.name)?).ok_or("too large")?;
        let buffer = Arc::new(Buffer::new(device, usize::try_from(bytes)?)?);
        stream.zero(&buffer, 0, buffer.len())?;
        context.bind(&tensor.name, buffer, 0)?;
    }
    Ok(context)
}
