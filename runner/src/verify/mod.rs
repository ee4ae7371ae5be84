//! How far folder B is from folder A, the reference: exports and engine folders in any pair.
//!
//! Three levels, each a gate: every submodule alone on equal inputs (A), every denoising step on A's
//! latents (B), the frames of two runs that go their own way from equal noise (C).

mod case;
mod error;
mod first_layer;
mod frames;
mod html;
mod limits;
mod modules;
mod report;
mod side;
mod trajectory;

pub use case::Case;
pub use error::VerifyError;
pub use frames::{FrameReport, FramesReport, frames};
pub use limits::{Limit, limits};
pub use modules::{common_jobs, module, profile_jobs};
pub use report::{ModuleReport, OutputReport, SideReport, VerifyReport};
pub use side::{Side, check_pair};
pub use trajectory::{ConditionReport, StepReport, TrajectoryReport, trajectory};
