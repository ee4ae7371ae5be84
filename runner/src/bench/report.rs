//! What was measured, what it is compared with, and what it adds up to.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use serde::{Deserialize, Serialize};

use super::gpu::GpuUse;
use super::statistics::{Estimate, quantiles};
use super::{Job, Shape};
use crate::package::Identity;
use crate::report::{peak_memory_bytes, stage_of};

/// One submodule at one set of sizes.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Stem of the submodule and its sizes, such as `transformer context=512 tokens=32760`.
    pub name: String,
    /// Stage that runs it.
    pub stage: &'static str,
    /// Runs in a request.
    pub runs: usize,
    /// Measured runs in milliseconds, in order; all are warm.
    pub milliseconds: Vec<f64>,
    /// Median in milliseconds.
    pub p50: Estimate,
    /// 90th percentile in milliseconds.
    pub p90: Estimate,
    /// 99th percentile in milliseconds.
    pub p99: Estimate,
    /// The first load and run, for the first sizes of a submodule.
    pub cold: Option<ColdStart>,
    /// Arithmetic in `[FP8, bf16, f32]`, FLOPs.
    pub flops: [usize; 3],
    /// Share of the time that the peer's best rates would leave, if they are known.
    pub roofline_share: Option<f64>,
    /// The fastest peer at this work: what it is, and its milliseconds.
    pub peer: Option<(String, f64)>,
    /// What the GPU did during the measured runs, if there is one that tells.
    pub gpu: Option<GpuUse>,
    /// Layers of one run in order, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// What a process pays once before a submodule is warm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ColdStart {
    /// Seconds to read, check and load the graph or engine; its file may lie in the system's cache.
    pub load_seconds: f64,
    /// Wall time of the first run in milliseconds, with all that is made for it.
    pub first_run_milliseconds: f64,
}

/// One layer of an engine in one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// TensorRT's name.
    pub name: String,
    /// What it mainly does, as `bernini build` counts it.
    pub kind: &'static str,
    /// Milliseconds with the profiler on, which charges waits to the layer that waits.
    pub milliseconds: f32,
}

impl Timing {
    pub(super) fn new(job: &Job, flops: [usize; 3], milliseconds: Vec<f64>) -> Self {
        let [p50, p90, p99] = quantiles(&milliseconds, [0.5, 0.9, 0.99]);
        Self {
            name: job.name(),
            stage: stage_of(job.submodule),
            runs: job.runs,
            milliseconds,
            p50,
            p90,
            p99,
            cold: None,
            flops,
            roofline_share: None,
            peer: None,
            gpu: None,
            layers: vec![],
        }
    }

    /// Arithmetic per second, in TFLOP/s.
    pub fn tflops(&self) -> f64 {
        self.flops.iter().sum::<usize>() as f64 / self.p50.value / 1e9
    }

    /// Milliseconds of all layers by kind, the most first.
    pub fn kinds(&self) -> Vec<(&'static str, f64)> {
        let mut kinds: BTreeMap<&str, f64> = BTreeMap::new();
        for layer in &self.layers {
            *kinds.entry(layer.kind).or_default() += f64::from(layer.milliseconds);
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
        kinds
    }

    fn compare(&mut self, peers: &Peers) {
        self.roofline_share = Some(peers.least_milliseconds(self.flops) / self.p50.value);
        self.peer = peers.fastest(&self.name);
    }
}

/// What PyTorch does on the same GPU: the file that `bench/peer_torch.py` writes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Peers {
    /// What was asked, such as torch's and diffusers' versions.
    pub versions: String,
    /// Best measured rate of a bf16 matrix product.
    pub bf16_tflops: f64,
    /// Best measured rate of an FP8 matrix product.
    pub fp8_tflops: f64,
    /// Work → peer → milliseconds; work is named as [`Timing::name`] or [`StageTime::name`] is,
    /// without sizes that make no difference.
    pub milliseconds: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Peers {
    /// The peers at `name`, with their milliseconds, the fastest first: every word of a peer's work
    /// is one of its words.
    pub(super) fn at(&self, name: &str) -> Vec<(String, f64)> {
        let words: Vec<&str> = name.split(' ').collect();
        let fits = |work: &str| work.split(' ').all(|word| words.contains(&word));
        let peers = self.milliseconds.iter().filter(|(work, _)| fits(work));
        let peers = peers.flat_map(|(_, peers)| peers).map(|(what, &ms)| (what.clone(), ms));
        let mut peers: Vec<_> = peers.collect();
        peers.sort_by(|a, b| a.1.total_cmp(&b.1));
        peers
    }

    fn fastest(&self, name: &str) -> Option<(String, f64)> {
        self.at(name).into_iter().next()
    }

    /// Milliseconds that this arithmetic would take at the best rates.
    fn least_milliseconds(&self, flops: [usize; 3]) -> f64 {
        let [fp8, bf16, f32] = flops.map(|flops| flops as f64 / 1e9);
        fp8 / self.fp8_tflops + (bf16 + f32) / self.bf16_tflops
    }
}

/// One stage of a request, composed from the timings of its submodules.
#[derive(Clone, Debug, Serialize)]
pub struct StageTime {
    /// Stage and workload, such as `vae-decode t2v-480p`.
    pub name: String,
    /// Seconds in a request; `None` where an engine is missing.
    pub seconds: Option<f64>,
    /// Experts: denoising steps.
    pub steps: Option<usize>,
    /// Share of its time that the peer's best rates would leave, if they are known.
    pub roofline_share: Option<f64>,
    /// The fastest peer, in milliseconds.
    pub peer: Option<(String, f64)>,
}

/// Where the numbers come from.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The folder: its precision, policy, TensorRT and GPU.
    #[serde(flatten)]
    pub identity: Identity,
    /// What was typed.
    pub command: String,
}

/// One workload on one folder.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Name of the workload.
    pub workload: String,
    /// Where the numbers come from.
    pub machine: Machine,
    /// What PyTorch does on the same GPU.
    pub peers: Option<Peers>,
    /// Every submodule that the folder has.
    pub timings: Vec<Timing>,
    /// The stages of a request.
    pub stages: Vec<StageTime>,
    /// Most GPU memory in use since the process began, by any process, in bytes.
    pub peak_gpu_memory_bytes: Option<u64>,
    /// Peak resident memory of this process in bytes.
    pub peak_memory_bytes: u64,
}

impl BenchReport {
    /// Compares timings with `peers` and adds them up to the stages of `jobs`.
    pub fn new(
        shape: &Shape,
        machine: Machine,
        peers: Option<Peers>,
        mut timings: Vec<Timing>,
        (jobs, steps): &(Vec<Job>, [usize; 2]),
    ) -> Self {
        if let Some(peers) = &peers {
            timings.iter_mut().for_each(|timing| timing.compare(peers));
        }
        let mut stages: Vec<StageTime> = vec![];
        for job in jobs {
            let name = format!("{} {}", stage_of(job.submodule).replace(' ', "-"), shape.name);
            if stages.iter().any(|stage| stage.name == name) {
                continue;
            }
            let steps = match job.submodule {
                Submodule::Transformer => Some(steps[0]),
                Submodule::Transformer2 => Some(steps[1]),
                _ => None,
            };
            let peer = peers.as_ref().and_then(|peers| peers.fastest(&name));
            let (seconds, least) = sums(stage_of(job.submodule), jobs, &timings, peers.as_ref());
            let roofline_share = least.zip(seconds).map(|(least, seconds)| least / seconds);
            stages.push(StageTime { name, seconds, steps, roofline_share, peer });
        }
        Self {
            workload: shape.name.clone(),
            machine,
            peers,
            timings,
            stages,
            peak_gpu_memory_bytes: None,
            peak_memory_bytes: peak_memory_bytes(),
        }
    }

    /// Seconds of all stages, where every engine was there.
    pub fn seconds(&self) -> Option<f64> {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }
}

/// Seconds of all runs of a stage: their medians, and what the peer's best rates would leave.
fn sums(
    stage: &str,
    jobs: &[Job],
    timings: &[Timing],
    peers: Option<&Peers>,
) -> (Option<f64>, Option<f64>) {
    let jobs = || jobs.iter().filter(|job| stage_of(job.submodule) == stage);
    let timed = |job: &Job| {
        let timing = timings.iter().find(|timing| timing.name == job.name())?;
        Some((timing, job.runs as f64 / 1e3))
    };
    let seconds = jobs().map(|job| timed(job).map(|(timing, runs)| timing.p50.value * runs)).sum();
    let least = |job| {
        let (timing, runs) = timed(job)?;
        Some(peers?.least_milliseconds(timing.flops) * runs)
    };
    (seconds, jobs().map(least).sum())
}
