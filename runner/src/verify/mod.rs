//! How far folders are from folder A, the reference: exports and engine folders in any mix.
//!
//! Three levels, each a gate: every submodule alone on equal inputs (A), every denoising step on A's
//! latents (B), the frames of two runs that go their own way from equal noise (C). A runs once for
//! all. One more folder that is as valid as A may say what differences mean nothing: the floor.

mod case;
mod charts;
mod error;
mod first_layer;
mod frames;
mod html;
mod jobs;
mod limits;
mod modules;
mod report;
mod side;
mod summary;
mod trajectory;

pub use case::{Case, CaseReference};
pub use error::VerifyError;
pub use frames::{FrameReport, FramesReport, frames};
pub use jobs::{common_jobs, profile_jobs};
pub use limits::{Limit, limits};
pub use modules::ModuleReference;
pub use report::{Comparison, ModuleReport, OutputReport, SideReport, VerifyReport};
pub use side::{Side, check_floor, check_pair, same_units};
pub use summary::Summary;
pub use trajectory::{ConditionReport, StepReport, TrajectoryReport, trajectory};
