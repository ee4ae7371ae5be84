//! The compiler that users have: TensorRT on the first GPU.

use std::time::Instant;

use bernini_graphs::DType;
use bernini_graphs::engines::GpuEntry;
use bernini_graphs::manifest::PortEntry;
use bernini_tensorrt::cuda::Device;
use bernini_tensorrt::{
    Builder, Config, DataType, Error, InputShapes, Network, Plan, Runtime, TensorInfo, TensorRt,
};

use crate::compiler::{CompileError, Compiled, Compiler, Job, Watch};
use crate::files::{self, MAX_GRAPH};
use crate::key::{InputRange, Platform};

/// Builds with TensorRT.
pub struct TensorRtCompiler {
    tensorrt: TensorRt,
    device: Device,
}

/// What TensorRT's builder gives.
struct Built {
    plan: Plan,
    timing_cache: Vec<u8>,
    timing_cache_refused: bool,
}

impl TensorRtCompiler {
    /// Opens TensorRT and the first GPU.
    ///
    /// # Errors
    /// No driver, no TensorRT, a version of it that this program was not made for.
    pub fn open() -> Result<Self, Error> {
        let tensorrt = TensorRt::open()?;
        Ok(Self { tensorrt, device: Device::open(0)? })
    }

    /// The parser's copy of the weights is freed when this returns.
    fn build(&self, job: &Job<'_>, watch: &Watch) -> Result<Built, CompileError> {
        let onnx = files::read(job.graph, MAX_GRAPH)?;
        let builder = Builder::new(&self.tensorrt)?;
        if let Some(plugin) = job.plugin {
            self.tensorrt.load_plugin(plugin)?;
        }
        let mut network = builder.network()?;
        network.parse(&onnx, job.graph)?;
        check_contract(&network.inputs(), job.inputs)?;
        let mut config = builder.config()?;
        set_shapes(&mut network, &mut config, job.profiles)?;
        config.set_optimization_level(job.flags.optimization_level);
        if let Some(bytes) = job.flags.workspace {
            config.set_workspace(bytes);
        }
        config.set_detailed(true);
        let known = !job.timing_cache.is_empty() && config.set_timing_cache(job.timing_cache)?;
        let told = watch.clone();
        config.set_progress(move |at| {
            told.progress.step(&at.phase, at.step, at.steps);
            !told.is_interrupted()
        })?;
        let plan = builder.build(&network, &config)?;
        let timing_cache_refused = !job.timing_cache.is_empty() && !known;
        Ok(Built { plan, timing_cache: config.timing_cache()?, timing_cache_refused })
    }

    /// Says what would help where the GPU was too small.
    fn explain(&self, error: CompileError) -> CompileError {
        let full = match &error {
            CompileError::TensorRt(Error::OutOfMemory { .. }) => true,
            CompileError::TensorRt(Error::TensorRt { log, .. }) => log.iter().any(|line| {
                let line = line.to_lowercase();
                line.contains("out of memory") || line.contains("outofmemory")
            }),
            _ => false,
        };
        match (error, self.device.memory()) {
            (CompileError::TensorRt(source), Ok(memory)) if full => {
                CompileError::OutOfMemory { free: memory.free, total: memory.total, source }
            }
            (error, _) => error,
        }
    }
}

impl Compiler for TensorRtCompiler {
    fn platform(&self) -> Platform {
        let GpuEntry { name, compute_capability, .. } = self.gpu();
        Platform { tensorrt: self.tensorrt.version().to_string(), gpu: name, compute_capability }
    }

    fn gpu(&self) -> GpuEntry {
        let version = |(major, minor): (u32, u32)| format!("{major}.{minor}");
        GpuEntry {
            name: self.device.name().into(),
            compute_capability: version(self.device.compute_capability()),
            cuda_driver: version(self.device.cuda_driver()),
        }
    }

    fn compile(&mut self, job: &Job<'_>, watch: &Watch) -> Result<Compiled, CompileError> {
        let start = Instant::now();
        let built = self.build(job, watch).map_err(|error| self.explain(error))?;
        let seconds = start.elapsed().as_secs_f64();
        let loaded = Runtime::new(&self.tensorrt)?.deserialize(built.plan.as_ref());
        let engine = loaded.map_err(|error| self.explain(error.into()))?;
        let profiles = 0..engine.profiles();
        Ok(Compiled {
            activation_bytes: profiles.map(|i| engine.activation_bytes(i)).max().unwrap_or(0),
            layers: engine.layers()?,
            plan: Box::new(built.plan),
            timing_cache: built.timing_cache,
            seconds,
            timing_cache_refused: built.timing_cache_refused,
        })
    }
}

/// TensorRT must have read the inputs that the manifest promises, of their types and ranks.
fn check_contract(found: &[TensorInfo], expected: &[PortEntry]) -> Result<(), CompileError> {
    let describe =
        |tensor: &TensorInfo| format!("{:?} of rank {}", tensor.dtype, tensor.shape.len());
    for port in expected {
        let rank = port.shape.len();
        let tensor = found.iter().find(|tensor| tensor.name == port.name);
        let same = |tensor: &&TensorInfo| {
            tensor.dtype == data_type(port.dtype) && tensor.shape.len() == rank
        };
        if tensor.filter(same).is_none() {
            return Err(CompileError::Contract {
                name: port.name.clone(),
                expected: format!("{:?} of rank {rank}", data_type(port.dtype)),
                found: tensor.map_or("missing".into(), describe),
            });
        }
    }
    let extra = found.iter().find(|tensor| expected.iter().all(|port| port.name != tensor.name));
    extra.map_or(Ok(()), |tensor| {
        Err(CompileError::Contract {
            name: tensor.name.clone(),
            expected: "absent".into(),
            found: describe(tensor),
        })
    })
}

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::F32,
        DType::Bf16 => DataType::Bf16,
        DType::E4m3 => DataType::Fp8,
        DType::I64 => DataType::I64,
    }
}

/// Fixes the axes that have one size, and gives the others their ranges.
fn set_shapes(
    network: &mut Network,
    config: &mut Config,
    profiles: &[Vec<InputRange>],
) -> Result<(), Error> {
    let fixed = fixed_shapes(profiles);
    for (name, shape) in &fixed {
        network.set_input_shape(name, shape)?;
    }
    let open = |input: &&InputRange| {
        fixed.iter().any(|(name, shape)| *name == input.name && shape.contains(&-1))
    };
    for profile in profiles {
        let shapes: Vec<_> = profile.iter().filter(open).map(shapes).collect();
        if !shapes.is_empty() {
            config.add_profile(&shapes)?;
        }
    }
    Ok(())
}

/// Shape of every input in the network: the size of an axis where all profiles have only that one,
/// so that TensorRT plans for it alone, and -1 elsewhere.
fn fixed_shapes(profiles: &[Vec<InputRange>]) -> Vec<(&str, Vec<i64>)> {
    let Some(first) = profiles.first() else { return vec![] };
    let fixed = |input: usize, axis: usize| {
        let size = first[input].min[axis];
        let all = profiles.iter().filter_map(|profile| profile.get(input));
        let same = all.flat_map(|range| [range.min[axis], range.max[axis]]).all(|n| n == size);
        if same { size as i64 } else { -1 }
    };
    let shape = |input: usize| (0..first[input].min.len()).map(|axis| fixed(input, axis)).collect();
    first.iter().enumerate().map(|(i, range)| (range.name.as_str(), shape(i))).collect()
}

fn shapes(range: &InputRange) -> InputShapes {
    let sizes = |sizes: &[usize]| sizes.iter().map(|&n| n as i64).collect();
    InputShapes {
        name: range.name.clone(),
        min: sizes(&range.min),
        opt: sizes(&range.opt),
        max: sizes(&range.max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, min: [usize; 3], max: [usize; 3]) -> InputRange {
        InputRange { name: name.into(), min: min.into(), opt: max.into(), max: max.into() }
    }

    #[test]
    fn axes_of_one_size_are_fixed() {
        let one =
            vec![range("tokens", [1, 30, 64], [1, 30, 64]), range("keys", [2, 1, 5], [2, 9, 5])];
        let expected = vec![("tokens", vec![1, 30, 64]), ("keys", vec![2, -1, 5])];
        assert_eq!(fixed_shapes(std::slice::from_ref(&one)), expected);
        let two = vec![range("tokens", [1, 60, 64], [1, 60, 64]), one[1].clone()];
        assert_eq!(fixed_shapes(&[one, two])[0], ("tokens", vec![1, -1, 64]));
        assert_eq!(fixed_shapes(&[]), vec![]);
    }

    #[test]
    fn a_graph_of_other_inputs_is_refused() {
        let port =
            |name: &str, dtype| PortEntry { name: name.into(), dtype, shape: vec!["n".into()] };
        let info = |name: &str, dtype, shape: &[i64]| TensorInfo {
            name: name.into(),
            dtype,
            shape: shape.into(),
        };
        let expected = [port("x", DType::Bf16), port("ids", DType::I64)];
        let ids = info("ids", DataType::I64, &[-1]);
        let with = |x: TensorInfo| check_contract(&[ids.clone(), x], &expected);
        with(info("x", DataType::Bf16, &[-1])).unwrap();
        for x in [
            info("x", DataType::F16, &[-1]),
            info("x", DataType::Bf16, &[-1, 3]),
            info("y", DataType::Bf16, &[-1]),
        ] {
            assert!(matches!(with(x), Err(CompileError::Contract { .. })));
        }
        let extra = [ids, info("x", DataType::Bf16, &[5]), info("z", DataType::Bool, &[1])];
        let error = check_contract(&extra, &expected).unwrap_err().to_string();
        assert!(error.contains("input z is Bool of rank 1, the manifest says absent"), "{error}");
    }
}
