//! What can be typed. Flags of the official Bernini scripts keep their names (spec H.3).

mod bench;
mod build;
mod calibrate;
mod inputs;
mod run;
mod search;
mod settings;
mod verify;

use std::path::PathBuf;

use bernini_graphs::{Component, Submodule};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bench::{BenchArgs, BenchCommand, CompareArgs, MeasureArgs};
pub use build::BuildArgs;
pub use calibrate::CalibrateArgs;
pub use inputs::{check_outputs, check_sources, settings};
pub use run::{RunArgs, RunFlags};
pub use search::SearchArgs;
pub use settings::Settings;
pub use verify::{Level, VerifyArgs};

/// Bernini video generation without Python: export, run, inspect.
#[derive(Debug, Parser)]
#[command(name = "bernini", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a random checkpoint in the released layout
    Synth(SynthArgs),
    /// Say what a checkpoint, export or engine folder holds, and whether it keeps the contract
    Inspect(InspectArgs),
    /// Translate a checkpoint into one ONNX graph per submodule
    Export(ExportArgs),
    /// Compile an export into TensorRT engines for this machine's GPU
    Build(BuildArgs),
    /// Measure what FP8 scales are made from, by running cases on a tapped export
    Calibrate(Box<CalibrateArgs>),
    /// Find what can run in FP8 within an error budget, and write the policy
    Search(Box<SearchArgs>),
    /// Generate a video or an image from an export
    Run(Box<RunArgs>),
    /// Measure how far folders are from folder A: submodules, steps, frames
    Verify(Box<VerifyArgs>),
    /// Measure every submodule, and what a request adds up to; or compare two reports
    Bench(Box<BenchArgs>),
    /// Say what this machine has and what is missing
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Size of the model
    #[arg(long, value_enum)]
    pub preset: Preset,
    /// Folder layout
    #[arg(long, value_enum, default_value = "full")]
    pub layout: Layout,
    /// Where to write the checkpoint; must not exist or be empty
    #[arg(short, long, value_name = "CKPT")]
    pub output: PathBuf,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Make the experts' attentions hard for FP8, as trained ones are: softmax has peaks, and a few
    /// channels are far above the others
    #[arg(long)]
    pub peaky: bool,
    /// Write names and shapes only: every weight is a hole that reads as 0
    #[arg(long, conflicts_with_all = ["seed", "only", "peaky"])]
    pub header_only: bool,
    /// Write the tensors of these components only, such as transformer,text_encoder; those of
    /// preset full are bf16
    #[arg(long, value_name = "COMPONENT,…", value_delimiter = ',', value_parser = component)]
    pub only: Vec<Component>,
}

fn component(name: &str) -> Result<Component, String> {
    let all = [&Component::PLANNER[..], &Component::RENDERER].concat();
    let names = || all.iter().map(|component| component.name()).collect::<Vec<_>>().join(", ");
    let found = all.iter().find(|component| component.name() == name);
    found.copied().ok_or_else(|| format!("expected one of {}", names()))
}

fn submodule(stem: &str) -> Result<Submodule, String> {
    let all = || Submodule::ALL.map(Submodule::stem).join(", ");
    Submodule::from_stem(stem).ok_or_else(|| format!("expected one of {}", all()))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Preset {
    /// Awkward small sizes for the CPU
    Tiny,
    /// Real widths, two layers of each stack, vocabularies cut to 8,000
    Slim,
    /// As deep as the release and an eighth as wide, without the planner's depth: for errors on a CPU
    Deep,
    /// Every size of the release; needs --only or --header-only
    Full,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Layout {
    /// The released package: `bernini/` shards with prefixes
    Full,
    /// Bernini-R in diffusers folders
    Renderer,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A checkpoint, an export or an engine folder
    pub folder: PathBuf,
    /// Also hash every file of an export or an engine folder
    #[arg(long)]
    pub verify: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The checkpoint
    pub checkpoint: PathBuf,
    /// Where to write the export
    #[arg(short, long, value_name = "EXPORT")]
    pub output: PathBuf,
    /// Numbers that the graphs compute with; the CPU runs f32 and fp8-f32
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Precision,
    /// FP8 scales: a table from `bernini calibrate`, or `synthetic` for speed runs only
    #[arg(long, value_name = "TABLE", required_if_eq_any([("precision", "fp8"), ("precision", "fp8-f32")]))]
    pub calibration: Option<String>,
    /// What runs in FP8: `default` or `all-fp8` (linear layers), `default-attention` or
    /// `all-fp8-attention` (attention too), or a JSON file, such as `bernini search` writes
    #[arg(long, value_name = "POLICY", default_value = "default")]
    pub policy: String,
    /// Export these submodules only, such as transformer,transformer_context; the checkpoint may
    /// lack the others
    #[arg(long, value_name = "SUBMODULE,…", value_delimiter = ',', value_parser = submodule)]
    pub only: Vec<Submodule>,
    /// More outputs: every named intermediate value, or what `bernini calibrate` measures
    #[arg(long, value_enum, value_name = "KIND")]
    pub taps: Option<Taps>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: ProgressKind,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Precision {
    F32,
    Bf16,
    /// E4M3 by the policy, the rest bf16: for engines
    Fp8,
    /// The same E4M3 values in f32 arithmetic: for the CPU
    Fp8F32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Taps {
    /// Every named intermediate value
    Values,
    /// The largest magnitudes that `calibrate` makes FP8 scales from
    Amax,
    /// Those, and what `calibrate --method percentile` and `mse` choose from
    Statistics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// Bars on a terminal, nothing elsewhere
    Auto,
    /// One JSON object a line on standard error
    Json,
    /// Nothing
    None,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
