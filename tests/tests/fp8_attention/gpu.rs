//! Builds and runs one engine on the first GPU, with the plugin loaded.

use std::path::Path;
use std::sync::Arc;

use bernini_tensorrt::cuda::{Buffer, Device, Stream};
use bernini_tensorrt::{Builder, Context, Error, InputShapes, PluginLibrary, Runtime, TensorRt};
use half::bf16;

/// TensorRT with the plugin, and a GPU.
pub struct Gpu {
    tensorrt: TensorRt,
    device: Device,
    stream: Stream,
}

/// Contents of an input.
pub struct Array {
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Gpu {
    pub fn open() -> Self {
        let library = PluginLibrary::find().unwrap();
        let library = library.expect("libbernini_plugin.so: set BERNINI_PLUGIN");
        let tensorrt = TensorRt::open().unwrap();
        let device = Device::open(0).unwrap();
        tensorrt.load_plugin(&library.path).unwrap();
        let stream = device.stream().unwrap();
        Self { tensorrt, device, stream }
    }

    /// A plan for shapes within `ranges`.
    pub fn build(&self, onnx: &[u8], ranges: &[InputShapes]) -> Result<Vec<u8>, Error> {
        let builder = Builder::new(&self.tensorrt)?;
        let mut network = builder.network()?;
        network.parse(onnx, Path::new("attention.onnx"))?;
        let mut config = builder.config()?;
        config.add_profile(ranges)?;
        Ok(builder.build(&network, &config)?.as_ref().to_vec())
    }

    /// A context of a plan.
    pub fn load(&self, plan: &[u8]) -> Loaded<'_> {
        let engine = Runtime::new(&self.tensorrt).unwrap().deserialize(plan).unwrap();
        let mut context = engine.context().unwrap();
        let bytes = engine.activation_bytes(0) as usize;
        context.set_memory(self.buffer(bytes)).unwrap();
        Loaded { gpu: self, context }
    }

    fn buffer(&self, bytes: usize) -> Arc<Buffer> {
        Arc::new(Buffer::new(&self.device, bytes).unwrap())
    }
}

pub struct Loaded<'a> {
    gpu: &'a Gpu,
    context: Context,
}

impl Loaded<'_> {
    /// The output `out`, and the milliseconds that the run took, host and all.
    pub fn run(&mut self, inputs: &[(&str, Array)]) -> Result<(Vec<f32>, f32), Error> {
        let stream = &self.gpu.stream;
        for (name, array) in inputs {
            let shape: Vec<_> = array.shape.iter().map(|&n| n as i64).collect();
            self.context.set_shape(name, &shape)?;
            let buffer = self.gpu.buffer(array.bytes.len());
            stream.upload(&array.bytes, &buffer, 0)?;
            self.context.bind(name, buffer, 0)?;
        }
        let count: i64 = self.context.shape("out")?.iter().product();
        let out = self.gpu.buffer(2 * count as usize);
        self.context.bind("out", out.clone(), 0)?;
        let start = stream.record()?;
        self.context.enqueue(stream)?;
        let milliseconds = stream.record()?.elapsed_ms(&start)?;
        let mut bytes = vec![0; out.len()];
        stream.download(&out, 0, &mut bytes)?;
        let values = bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32());
        Ok((values.collect(), milliseconds))
    }
}
