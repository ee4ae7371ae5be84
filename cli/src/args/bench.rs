//! Flags of `bernini bench`.

use std::path::PathBuf;

use bernini_builder::Workload;
use clap::{Args, Subcommand};

use super::ProgressKind;

const FILES: &str = "\
With -o FILE.json, beside it: FILE.md, FILE.speed.svg (with --peers) and FILE.layers.svg (with
--layers).

Examples:
  bernini bench ENGINES --workload t2v-480p,v2v-480p --peers peers.json -o new.json
  bernini bench compare old.json new.json";

/// What to measure, or which reports to compare.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
#[command(after_help = FILES)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    #[command(flatten)]
    pub measure: Option<MeasureArgs>,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Say what became faster or slower between two reports; exit 1 where something is slower
    Compare(CompareArgs),
}

#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// An engine folder, or an f32 export for the CPU; chosen engines will do
    pub folder: PathBuf,
    /// What to measure: names and sizes as in `bernini build`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    pub workload: Vec<Workload>,
    /// Measured runs of every submodule
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub iterations: u32,
    /// Runs before those, of which the first is reported as the cold one
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub warmup: u32,
    /// Also time every layer of an engine once: where the time goes
    #[arg(long)]
    pub layers: bool,
    /// What PyTorch does on the same GPU: a file of bench/peer_torch.py
    #[arg(long, value_name = "FILE")]
    pub peers: Option<PathBuf>,
    /// Also write the report as JSON, with markdown and drawings beside it
    #[arg(short, long, value_name = "FILE.json")]
    pub output: Option<PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: ProgressKind,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A report of `bernini bench -o`
    pub old: PathBuf,
    /// A later one, measured on the same GPU
    pub new: PathBuf,
    /// Smallest change of a median that counts, beside that both 95 % intervals are apart
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = percent)]
    pub threshold: f64,
    /// Print the comparison as JSON
    #[arg(long)]
    pub json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| (0.0..=1000.0).contains(x));
    number.ok_or_else(|| "expected a number of 0 or more, such as 2".into())
}
