//! Runs one submodule again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bernini_graphs::Submodule;

use super::gpu::{GpuMeter, GpuUse};
use super::{ColdStart, Job, Layer, Timing};
use crate::backend::{Backend, BackendError, Session};
use crate::inputs;
use crate::package::Folder;
use crate::tensor::Tensor;

/// Tells the kind of a submodule's layer by the layer's name.
pub type KindOf<'a> = &'a dyn Fn(Submodule, &str) -> &'static str;

/// How often a job runs.
#[derive(Clone, Copy)]
pub struct Repeat<'a> {
    /// Runs before those that count: one or more, of which the first is the cold one.
    pub warmup: usize,
    /// Runs that count: one or more.
    pub iterations: usize,
    /// Times the layers of one run more, if there is something that tells their kinds.
    pub layers: Option<KindOf<'a>>,
}

/// Times the submodules of one folder.
pub struct Bench<'a> {
    folder: &'a Folder,
    backend: &'a dyn Backend,
    repeat: Repeat<'a>,
    /// Only engines have a GPU to watch.
    meter: Option<GpuMeter>,
    /// Submodules that are warm in this process.
    warm: BTreeSet<Submodule>,
    peak_gpu_memory_bytes: Option<u64>,
}

/// Why a job was not timed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A manifest whose ports have other symbols than this version's.
    #[error(
        "{submodule}: the manifest has other sizes than this version; export, and build, again"
    )]
    Sizes {
        /// Which submodule.
        submodule: Submodule,
    },
    /// A submodule that did not run.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl<'a> Bench<'a> {
    /// Nothing is loaded yet.
    pub fn new(folder: &'a Folder, backend: &'a dyn Backend, repeat: Repeat<'a>) -> Self {
        let meter = folder.identity().gpu.and_then(|_| GpuMeter::open());
        let warm = BTreeSet::new();
        Self { folder, backend, repeat, meter, warm, peak_gpu_memory_bytes: None }
    }

    /// Most GPU memory in use so far, by any process, in bytes; `None` without a GPU.
    pub fn peak_gpu_memory_bytes(&self) -> Option<u64> {
        self.peak_gpu_memory_bytes
    }

    /// Times a job: on a GPU by the GPU's own clock, else wall time. `None` where the folder lacks
    /// its submodule.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn time(&mut self, job: &Job) -> Result<Option<Timing>, BenchError> {
        let submodule = job.submodule;
        let Some(entry) = self.folder.submodule(submodule) else { return Ok(None) };
        let made_up = inputs::random(entry.inputs, &job.sizes);
        let flops = entry.work.flops(&job.sizes);
        let (Some(made_up), Some(flops)) = (made_up, flops) else {
            return Err(BenchError::Sizes { submodule });
        };
        let start = Instant::now();
        let mut session = self.backend.load(submodule)?;
        let load_seconds = start.elapsed().as_secs_f64();
        let tensors: BTreeMap<String, _> = made_up
            .into_iter()
            .map(|(name, tensor)| session.resident(&name, tensor).map(|tensor| (name, tensor)))
            .collect::<Result<_, _>>()?;
        let feed: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        // Forgets what the GPU did before.
        self.backend.device_use()?;
        let start = Instant::now();
        self.run(&mut *session, submodule, &feed)?;
        let first_run_milliseconds = 1e3 * start.elapsed().as_secs_f64();
        for _ in 1..self.repeat.warmup {
            self.run(&mut *session, submodule, &feed)?;
        }
        let (milliseconds, gpu) = self.warm_runs(&mut *session, submodule, &feed)?;
        let mut timing = Timing::new(job, flops, milliseconds);
        let cold = ColdStart { load_seconds, first_run_milliseconds };
        timing.cold = self.warm.insert(submodule).then_some(cold);
        timing.gpu = gpu;
        timing.layers = self.layers(&mut *session, submodule, &feed)?;
        Ok(Some(timing))
    }

    /// One run in milliseconds.
    fn run(
        &mut self,
        session: &mut dyn Session,
        submodule: Submodule,
        feed: &[(&str, &Tensor)],
    ) -> Result<f64, BackendError> {
        let start = Instant::now();
        drop(session.run(feed)?);
        let gpu = self.backend.device_use()?;
        let wall = start.elapsed().as_secs_f64();
        let on_gpu = gpu.as_ref().and_then(|gpu| gpu.seconds.get(&submodule).copied());
        self.peak_gpu_memory_bytes =
            self.peak_gpu_memory_bytes.max(gpu.map(|gpu| gpu.peak_memory_bytes));
        Ok(1e3 * on_gpu.unwrap_or(wall))
    }

    /// The runs that count in milliseconds, and what the GPU did meanwhile.
    fn warm_runs(
        &mut self,
        session: &mut dyn Session,
        submodule: Submodule,
        feed: &[(&str, &Tensor)],
    ) -> Result<(Vec<f64>, Option<GpuUse>), BackendError> {
        let meter = self.meter.take();
        let mut runs = || {
            let runs = 0..self.repeat.iterations;
            runs.map(|_| self.run(session, submodule, feed)).collect::<Result<Vec<_>, _>>()
        };
        let (milliseconds, gpu) = match &meter {
            Some(meter) => meter.watch(runs),
            None => (runs(), None),
        };
        self.meter = meter;
        Ok((milliseconds?, gpu))
    }

    /// The layers of one run more, if they are asked for.
    fn layers(
        &self,
        session: &mut dyn Session,
        submodule: Submodule,
        feed: &[(&str, &Tensor)],
    ) -> Result<Vec<Layer>, BackendError> {
        let Some(kind_of) = self.repeat.layers else { return Ok(vec![]) };
        let layers = session.layers(feed)?.into_iter().map(|(name, milliseconds)| Layer {
            kind: kind_of(submodule, &name),
            name,
            milliseconds,
        });
        Ok(layers.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::backend::testing::EngineFolder;
    use crate::backend::{DeviceUse, Outputs};
    use crate::package::Package;
    use crate::request::{Plan, Request};

    /// A GPU whose n-th run takes n seconds and n bytes.
    #[derive(Clone, Default)]
    struct Slower(Rc<Cell<u32>>);

    impl Backend for Slower {
        fn load(&self, _: Submodule) -> Result<Box<dyn Session>, BackendError> {
            Ok(Box::new(self.clone()))
        }

        fn check(&self, _: &Request, _: &Plan, _: &Package) -> Result<(), BackendError> {
            Ok(())
        }

        fn device_use(&self) -> Result<Option<DeviceUse>, BackendError> {
            let runs = self.0.get();
            let seconds = [(Submodule::Transformer, f64::from(runs))].into();
            Ok(Some(DeviceUse { seconds, peak_memory_bytes: runs.into(), loads: vec![] }))
        }
    }

    impl Session for Slower {
        fn run(&mut self, _: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
            self.0.set(self.0.get() + 1);
            Ok(Outputs::new(Submodule::Transformer, [].into()))
        }

        fn layers(&mut self, _: &[(&str, &Tensor)]) -> Result<Vec<(String, f32)>, BackendError> {
            Ok(vec![("first".into(), 0.5), ("second".into(), 1.5)])
        }
    }

    fn job(submodule: Submodule, sizes: &[(&str, usize)]) -> Job {
        let sizes = sizes.iter().map(|&(symbol, size)| (symbol.into(), size)).collect();
        Job { submodule, sizes, runs: 1 }
    }

    #[test]
    fn runs_that_count_come_after_the_cold_one_and_the_warm_up() {
        let made = EngineFolder::new();
        let folder = Folder::open(made.path()).unwrap();
        let backend = Slower::default();
        let kind = |submodule, name: &str| match (submodule, name) {
            (Submodule::Transformer, "first") => "attention",
            _ => "other",
        };
        let repeat = Repeat { warmup: 3, iterations: 2, layers: Some(&kind) };
        let mut bench = Bench::new(&folder, &backend, repeat);
        let small = job(Submodule::Transformer, &[("tokens", 3), ("context", 2)]);
        let timing = bench.time(&small).unwrap().unwrap();
        assert_eq!(timing.milliseconds, [4000.0, 5000.0]);
        assert_eq!(bench.peak_gpu_memory_bytes(), Some(5));
        let layers = timing.layers.iter().map(|layer| (layer.kind, layer.milliseconds));
        assert_eq!(layers.collect::<Vec<_>>(), [("attention", 0.5), ("other", 1.5)]);
        // Only the first time is a cold start.
        assert!(timing.cold.is_some());
        assert!(bench.time(&small).unwrap().unwrap().cold.is_none());
    }

    #[test]
    fn what_a_folder_lacks_is_left_out_and_other_symbols_are_refused() {
        let made = EngineFolder::edited(|manifest| {
            manifest.engines.remove("transformer_2");
        });
        let folder = Folder::open(made.path()).unwrap();
        let backend = Slower::default();
        let repeat = Repeat { warmup: 1, iterations: 1, layers: None };
        let mut bench = Bench::new(&folder, &backend, repeat);
        assert!(bench.time(&job(Submodule::Transformer2, &[])).unwrap().is_none());
        let error = bench.time(&job(Submodule::Transformer, &[("tokens", 3)])).unwrap_err();
        assert!(error.to_string().contains("transformer: the manifest has other sizes"), "{error}");
    }
}
