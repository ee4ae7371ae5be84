//! Levels B and C: one case on A once, and on every other folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use super::frames::{files, shown};
use super::{FramesReport, Limit, TrajectoryReport, VerifyError, frames, trajectory};
use crate::pipeline::{Pipeline, Progress, Trace};
use crate::report::Report;
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

/// What A makes of a case: every step, and the frames in a temporary folder.
pub struct CaseReference {
    report: Report,
    trace: Trace,
    scratch: TempDir,
}

impl CaseReference {
    fn frames(&self) -> PathBuf {
        self.scratch.path().join("a/")
    }

    /// First, middle and last frame as png files.
    ///
    /// # Errors
    /// Those of reading.
    pub fn shown(&self) -> Result<Vec<(usize, Vec<u8>)>, VerifyError> {
        shown("A", &files("A", &self.frames())?)
    }
}

impl Case<'_> {
    /// Runs A, once for all that it is compared with.
    ///
    /// # Errors
    /// Those of the run.
    pub fn reference(&self, a: &Pipeline) -> Result<CaseReference, VerifyError> {
        let scratch = tempfile::tempdir().map_err(|source| VerifyError::Io {
            side: "A".into(),
            path: std::env::temp_dir(),
            source,
        })?;
        let (report, trace) = self.run("A", a, None, &scratch.path().join("a/"))?;
        Ok(CaseReference { report, trace, scratch })
    }

    /// Runs the folder called `name` once for each level of `wanted`, B and C.
    ///
    /// # Errors
    /// Those of the runs; [`VerifyError::Shapes`] where results differ in shape.
    pub fn compare(
        &self,
        reference: &CaseReference,
        name: &str,
        other: &Pipeline,
        limit: &Limit,
        wanted: [bool; 2],
    ) -> Result<(Option<TrajectoryReport>, Option<FramesReport>), VerifyError> {
        let CaseReference { report, trace, scratch } = reference;
        let output = scratch.path().join("other/");
        let steps = match wanted[0] {
            false => None,
            true => {
                let (_, found) = self.run(name, other, Some(trace), &output)?;
                Some(trajectory(trace, &found, report.steps_high_noise, limit)?)
            }
        };
        let pictures = match wanted[1] {
            false => None,
            true => {
                self.run(name, other, None, &output)?;
                let compared = frames(&reference.frames(), name, &output, limit)?;
                std::fs::remove_dir_all(&output).map_err(|source| VerifyError::Io {
                    side: name.into(),
                    path: output,
                    source,
                })?;
                Some(compared)
            }
        };
        Ok((steps, pictures))
    }

    fn run(
        &self,
        side: &str,
        pipeline: &Pipeline,
        teacher: Option<&Trace>,
        output: &Path,
    ) -> Result<(Report, Trace), VerifyError> {
        let request = Request { output: output.into(), ..self.request.clone() };
        let latents = teacher.map(|trace| &trace.latents[..]);
        let run = pipeline.follow(&request, self.plan, latents, self.progress, self.interrupted);
        run.map_err(|source| VerifyError::Run { side: side.into(), source: Box::new(source) })
    }
}
