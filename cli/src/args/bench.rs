//! Flags of `bernini bench`.

use std::path::PathBuf;

use bernini_builder::Workload;
use clap::Args;

use super::ProgressKind;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// An engine folder, or an f32 export for the CPU; chosen engines will do
    pub folder: PathBuf,
    /// What to measure: names and sizes as in `bernini build`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    pub workload: Vec<Workload>,
    /// Measured runs of every submodule
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub iterations: u32,
    /// Runs before those
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub warmup: u32,
    /// Also time every layer of an engine once, for the JSON report
    #[arg(long)]
    pub layers: bool,
    /// What PyTorch does on the same GPU: a file of bench/peer_torch.py
    #[arg(long, value_name = "FILE")]
    pub peers: Option<PathBuf>,
    /// Also write the report as JSON, and as markdown beside it
    #[arg(short, long, value_name = "FILE.json")]
    pub output: Option<PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: ProgressKind,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
