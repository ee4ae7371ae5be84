//! Arithmetic of a request in one folder, by the numbers that it multiplies.

use super::Job;
use crate::package::Folder;

/// FLOPs of some jobs, as often as they run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flops {
    /// In FP8, or in the CPU's stand-in for it.
    pub fp8: f64,
    /// In all.
    pub total: f64,
}

impl Flops {
    /// Those of `jobs` in the submodules that `folder` has; `None` where they are no polynomial of a
    /// job's sizes.
    pub fn of(folder: &Folder, jobs: &[Job]) -> Option<Self> {
        let mut sum = Self::default();
        for job in jobs {
            let Some(entry) = folder.submodule(job.submodule) else { continue };
            let [fp8, bf16, f32] = entry.work.flops(&job.sizes)?;
            let runs = job.runs as f64;
            sum.fp8 += fp8 as f64 * runs;
            sum.total += (fp8 + bf16 + f32) as f64 * runs;
        }
        Some(sum)
    }
}
