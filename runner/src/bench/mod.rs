//! How long every submodule of a workload takes, and what that makes of a whole request.
//!
//! A workload is a list of jobs: which submodule runs at which sizes, and how often. Each distinct
//! one is measured alone with made-up inputs that already lie on the device; a stage is the sum of
//! its jobs. So a folder of chosen engines can be measured too, and what is composed is said so.

mod charts;
mod compare;
mod flops;
mod gpu;
mod jobs;
mod markdown;
mod measure;
mod report;
mod statistics;
#[cfg(test)]
mod testing;

pub use charts::{layers_chart, speed_chart};
pub use compare::{CompareError, Comparison, Item, Recorded, Verdict, compare};
pub use flops::Flops;
pub use gpu::GpuUse;
pub use jobs::{Clip, Job, Shape, jobs};
pub use markdown::matrix;
pub use measure::{Bench, BenchError, KindOf, Repeat};
pub use report::{BenchReport, ColdStart, Layer, Machine, Peers, StageTime, Timing};
pub use statistics::Estimate;
