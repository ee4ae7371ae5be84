//! What a run did and how long each stage took.

use std::fs;
use std::time::{Duration, Instant};

use bernini_graphs::Submodule;
use serde::Serialize;

use crate::backend::EngineLoad;

/// One stage of the pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Name, such as `denoise`.
    pub name: &'static str,
    /// Wall time in seconds.
    pub seconds: f64,
    /// How often its unit of work ran: prompts, frames, forwards.
    pub count: usize,
    /// Seconds in which the GPU worked for it, from its own events, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_seconds: Option<f64>,
}

/// The denoising steps of one expert, everything on the host included.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExpertReport {
    /// `transformer` or `transformer_2`.
    pub name: &'static str,
    /// Steps.
    pub steps: usize,
    /// Forwards of all steps.
    pub forwards: usize,
    /// Wall time of its steps in seconds; loading and contexts come before.
    pub seconds: f64,
    /// The same by step.
    pub seconds_per_step: f64,
    /// Seconds in which the GPU worked for them, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_seconds: Option<f64>,
}

/// The whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Stages in the order in which they began.
    pub stages: Vec<Stage>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Frames of the result.
    pub frames: usize,
    /// Width of the result.
    pub width: u32,
    /// Height of the result.
    pub height: u32,
    /// Tokens of the target.
    pub target_tokens: usize,
    /// Tokens of the longest sequence.
    pub max_tokens: usize,
    /// Denoising steps of the high-noise expert.
    pub steps_high_noise: usize,
    /// Denoising steps of the low-noise expert.
    pub steps_low_noise: usize,
    /// DiT forwards.
    pub forwards: usize,
    /// DiT forwards of the official schedule, which runs equal ones too.
    pub forwards_official: usize,
    /// Passes of the planner's language model: prefixes once, then the target alone.
    pub planner_passes: usize,
    /// Passes of the official schedule, each over a whole branch.
    pub planner_passes_official: usize,
    /// Experts in the order in which they ran.
    pub experts: Vec<ExpertReport>,
    /// Engines in the order in which they were loaded; none of those that were loaded before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loads: Vec<EngineLoad>,
    /// Peak resident memory of the process in bytes.
    pub peak_memory_bytes: u64,
    /// Most GPU memory in use, by any process, if there is a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_gpu_memory_bytes: Option<u64>,
    /// Share of the denoising steps in which the GPU waited for the host, if there is a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_idle_share: Option<f64>,
}

impl Report {
    /// Adds time and work to a stage, which begins where it is first named.
    pub(crate) fn add(&mut self, name: &'static str, time: Duration, count: usize) {
        let seconds = time.as_secs_f64();
        match self.stages.iter_mut().find(|stage| stage.name == name) {
            Some(stage) => {
                stage.seconds += seconds;
                stage.count += count;
            }
            None => self.stages.push(Stage { name, seconds, count, gpu_seconds: None }),
        }
    }

    /// Adds time of the GPU to the stage of `submodule`.
    pub(crate) fn add_gpu(&mut self, submodule: Submodule, seconds: f64) {
        let name = stage_of(submodule);
        self.add(name, Duration::ZERO, 0);
        if let Some(stage) = self.stages.iter_mut().find(|stage| stage.name == name) {
            *stage.gpu_seconds.get_or_insert_default() += seconds;
        }
    }

    /// 1 − GPU time / wall time over the steps of all experts.
    pub(crate) fn idle_share(&self) -> Option<f64> {
        let busy = self.experts.iter().map(|expert| expert.gpu_seconds).sum::<Option<f64>>()?;
        let wall: f64 = self.experts.iter().map(|expert| expert.seconds).sum();
        (wall > 0.0).then(|| 1.0 - busy / wall)
    }

    /// Runs `work` as `count` units of a stage.
    pub(crate) fn time<T>(
        &mut self,
        name: &'static str,
        count: usize,
        work: impl FnOnce() -> T,
    ) -> T {
        let start = Instant::now();
        let result = work();
        self.add(name, start.elapsed(), count);
        result
    }
}

/// The stage that runs a submodule.
pub fn stage_of(submodule: Submodule) -> &'static str {
    use Submodule::{
        FlowHead, FlowHeadModulation, PlannerLm, PredVit, ProjGen, TextEncoder, Transformer,
        Transformer2, Transformer2Context, TransformerContext, VaeDecoderFirst, VaeDecoderNext,
        VaeEncoderFirst, VaeEncoderNext, Vision,
    };
    match submodule {
        Vision => "vision",
        PlannerLm | PredVit | FlowHeadModulation | FlowHead | ProjGen => "planner",
        TextEncoder => "text",
        TransformerContext | Transformer2Context => "context",
        Transformer => "dit high",
        Transformer2 => "dit low",
        VaeEncoderFirst | VaeEncoderNext => "vae encode",
        VaeDecoderFirst | VaeDecoderNext => "vae decode",
    }
}

/// Peak resident memory of this process in bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expert(seconds: f64, gpu_seconds: Option<f64>) -> ExpertReport {
        ExpertReport { seconds, gpu_seconds, ..ExpertReport::default() }
    }

    #[test]
    fn the_idle_share_is_over_all_steps_and_absent_without_a_gpu() {
        let mut report = Report::default();
        assert_eq!(report.idle_share(), None);
        report.experts = vec![expert(6.0, Some(5.0)), expert(2.0, Some(1.0))];
        assert_eq!(report.idle_share(), Some(0.25));
        report.experts.push(expert(1.0, None));
        assert_eq!(report.idle_share(), None);
    }

    #[test]
    fn gpu_time_goes_to_the_stage_that_runs_the_submodule() {
        let mut report = Report::default();
        report.add("planner", Duration::from_secs(3), 7);
        report.add_gpu(Submodule::FlowHead, 0.5);
        report.add_gpu(Submodule::PlannerLm, 1.0);
        report.add_gpu(Submodule::Transformer2, 2.0);
        let stages: Vec<_> =
            report.stages.iter().map(|s| (s.name, s.seconds, s.count, s.gpu_seconds)).collect();
        assert_eq!(stages, [("planner", 3.0, 7, Some(1.5)), ("dit low", 0.0, 0, Some(2.0))]);
    }
}
