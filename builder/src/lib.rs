//! ONNX graphs to TensorRT engines: which shapes they serve, which of them have to be built, and a
//! folder that is never half of anything (design §3, §4, §7).
//!
//! `workload → profiles → wanted → key → decision → compiler → store → manifest`

mod build;
mod compiler;
mod decision;
mod error;
mod export;
mod files;
mod host_memory;
mod inspect;
mod key;
mod layers;
mod next_manifest;
mod planner_sizes;
mod plugin;
mod profiles;
mod report;
mod store;
mod tensorrt;
#[cfg(test)]
mod testing;
mod wanted;
mod workload;

pub use build::{Options, build, dry_run};
pub use compiler::{CompileError, Compiled, Compiler, Job, Progress, Watch};
pub use decision::Action;
pub use error::BuildError;
pub use export::{Export, ExportError};
pub use files::FileError;
pub use inspect::{EngineSummary, EnginesReport, inspect, is_engine_folder};
pub use key::{Flags, InputRange, Platform};
pub use layers::{LayerKinds, LayerSummary};
pub use report::{BuildReport, DryRun, EngineReport, PlannedEngine};
pub use store::StoreError;
pub use tensorrt::TensorRtCompiler;
pub use workload::{Clip, Workload, WorkloadError};
