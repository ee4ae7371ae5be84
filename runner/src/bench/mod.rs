//! How long every submodule of a workload takes, and what that makes of a whole request.
//!
//! A workload is a list of jobs: which submodule runs at which sizes, and how often. Each distinct
//! one is measured alone with made-up inputs that already lie on the device; a stage is the sum of
//! its jobs. So a folder of chosen engines can be measured too, and what is composed is said so.

mod jobs;
mod markdown;
mod measure;
mod report;

pub use jobs::{Clip, Job, Shape, jobs};
pub use measure::{Graph, Repeat, measure};
pub use report::{BenchReport, Machine, Peers, StageTime, Timing};
