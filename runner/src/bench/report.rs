//! What was measured, what it is compared with, and what it adds up to.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::engines::GpuEntry;
use bernini_graphs::manifest::PrecisionName;
use serde::{Deserialize, Serialize};

use super::{Job, Shape};
use crate::report::stage_of;

/// One submodule at one set of sizes.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Stem of the submodule and its sizes, such as `transformer context=512 tokens=32760`.
    pub name: String,
    /// Stage that runs it.
    pub stage: &'static str,
    /// Runs in a request.
    pub runs: usize,
    /// Measured runs in milliseconds, in order.
    pub milliseconds: Vec<f64>,
    /// Median in milliseconds.
    pub p50: f64,
    /// 90th percentile in milliseconds.
    pub p90: f64,
    /// Arithmetic in `[FP8, bf16, f32]`, FLOPs.
    pub flops: [usize; 3],
    /// Share of the time that the peer's best rates would leave, if they are known.
    pub roofline_share: Option<f64>,
    /// The fastest peer at this work: what it is, and its milliseconds.
    pub peer: Option<(String, f64)>,
    /// Layers of one run in order, with their milliseconds, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<(String, f32)>,
}

impl Timing {
    pub(super) fn new(
        job: &Job,
        flops: [usize; 3],
        milliseconds: Vec<f64>,
        layers: Vec<(String, f32)>,
    ) -> Self {
        let mut sorted = milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = sorted.len().saturating_sub(1) as f64;
            sorted.get((share * last).round() as usize).copied().unwrap_or(f64::NAN)
        };
        Self {
            name: job.name(),
            stage: stage_of(job.submodule),
            runs: job.runs,
            p50: at(0.5),
            p90: at(0.9),
            milliseconds,
            flops,
            roofline_share: None,
            peer: None,
            layers,
        }
    }

    /// Arithmetic per second, in TFLOP/s.
    pub fn tflops(&self) -> f64 {
        self.flops.iter().sum::<usize>() as f64 / self.p50 / 1e9
    }

    fn compare(&mut self, peers: &Peers) {
        let [fp8, bf16, f32] = self.flops.map(|flops| flops as f64 / 1e9);
        let least = fp8 / peers.fp8_tflops + (bf16 + f32) / peers.bf16_tflops;
        self.roofline_share = Some(least / self.p50);
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
    /// The fastest peer at `name`: every word of the peer's work is one of its words.
    fn fastest(&self, name: &str) -> Option<(String, f64)> {
        let words: Vec<&str> = name.split(' ').collect();
        let fits = |work: &str| work.split(' ').all(|word| words.contains(&word));
        let peers = self.milliseconds.iter().filter(|(work, _)| fits(work));
        let peers = peers.flat_map(|(_, peers)| peers).map(|(what, &ms)| (what.clone(), ms));
        peers.min_by(|a, b| a.1.total_cmp(&b.1))
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
    /// The fastest peer, in milliseconds.
    pub peer: Option<(String, f64)>,
}

/// Where the numbers come from.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The GPU that engines were built on; `None`: graphs on the CPU.
    pub gpu: Option<GpuEntry>,
    /// Version of TensorRT.
    pub tensorrt: Option<String>,
    /// Precision of the graphs.
    pub precision: PrecisionName,
    /// FP8 only: name of the policy.
    pub policy: Option<String>,
    /// FP8 only: whether the scales were never measured.
    pub uncalibrated: bool,
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
            let stage = stage_of(job.submodule);
            let peer = peers.as_ref().and_then(|peers| peers.fastest(&name));
            stages.push(StageTime { name, seconds: seconds(stage, jobs, &timings), steps, peer });
        }
        Self { workload: shape.name.clone(), machine, peers, timings, stages }
    }

    /// Seconds of all stages, where every engine was there.
    pub fn seconds(&self) -> Option<f64> {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }
}

/// Median times of all runs of a stage.
fn seconds(stage: &str, jobs: &[Job], timings: &[Timing]) -> Option<f64> {
    let jobs = jobs.iter().filter(|job| stage_of(job.submodule) == stage);
    jobs.map(|job| {
        let name = job.name();
        let timing = timings.iter().find(|timing| timing.name == name)?;
        Some(timing.p50 * job.runs as f64 / 1e3)
    })
    .sum()
}
