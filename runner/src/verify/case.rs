//! Levels B and C: one case on both folders.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::{FramesReport, Limit, TrajectoryReport, VerifyError, frames, trajectory};
use crate::pipeline::{Pipeline, Progress};
use crate::request::{Plan, Request};

/// A request, and who follows it.
pub struct Case<'a> {
    /// The request; its output is not written.
    pub request: &'a Request,
    /// Its own plan.
    pub plan: &'a Plan,
    /// Follows every run.
    pub progress: &'a dyn Progress,
    /// Ends the comparison when set.
    pub interrupted: &'a AtomicBool,
}

impl Case<'_> {
    /// Runs A once and B once for each level of `wanted`, B and C.
    ///
    /// # Errors
    /// Those of the runs; [`VerifyError::Shapes`] where results differ in shape.
    pub fn compare(
        &self,
        a: &Pipeline,
        b: &Pipeline,
        limit: &Limit,
        wanted: [bool; 2],
    ) -> Result<(Option<TrajectoryReport>, Option<FramesReport>), VerifyError> {
        let scratch = tempfile::tempdir().map_err(|source| VerifyError::Io {
            side: "A",
            path: std::env::temp_dir(),
            source,
        })?;
        let outputs = ["a/", "b/"].map(|name| scratch.path().join(name));
        let run = |side, pipeline: &Pipeline, teacher, output: &PathBuf| {
            let request = Request { output: output.clone(), ..self.request.clone() };
            let run =
                pipeline.follow(&request, self.plan, teacher, self.progress, self.interrupted);
            run.map_err(|source| VerifyError::Run { side, source: Box::new(source) })
        };
        let (report, of_a) = run("A", a, None, &outputs[0])?;
        let steps = match wanted[0] {
            false => None,
            true => {
                let (_, of_b) = run("B", b, Some(&of_a.latents[..]), &outputs[1])?;
                Some(trajectory(&of_a, &of_b, report.steps_high_noise, limit)?)
            }
        };
        let pictures = match wanted[1] {
            false => None,
            true => {
                run("B", b, None, &outputs[1])?;
                Some(frames(&outputs[0], &outputs[1], limit)?)
            }
        };
        Ok((steps, pictures))
    }
}
