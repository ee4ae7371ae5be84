//! What a run did and how long each stage took.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One stage of the pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Name, such as `denoise`.
    pub name: &'static str,
    /// Wall time in seconds.
    pub seconds: f64,
    /// How often its unit of work ran: prompts, frames, forwards.
    pub count: usize,
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
    /// Peak resident memory of the process in bytes.
    pub peak_memory_bytes: u64,
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
            None => self.stages.push(Stage { name, seconds, count }),
        }
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

/// Peak resident memory of this process in bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
