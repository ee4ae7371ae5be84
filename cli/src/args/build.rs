//! Flags of `bernini build`.

use std::path::PathBuf;

use bernini_builder::Workload;
use bernini_graphs::Submodule;
use clap::Args;

use super::{ProgressKind, submodule};

/// Shape sets that engines are built for.
const WORKLOADS: &str = "\
Workloads:
  t2v-480p   832x480, 81 frames, from text
  v2v-480p   the same, from a video of that size
  rv2v-480p  the same, from such a video and an 832x480 picture
  t2v-720p   1280x720, 81 frames, from text
  v2v-720p   the same, from a video of that size
  t2i-512    a 512x512 picture from text
  WIDTHxHEIGHTxFRAMES[+WIDTHxHEIGHTxFRAMES...]
             any target, and its sources as the VAE sees them; one frame is a picture;
             sides are multiples of 16, frames 4n + 1

Engines run at exactly these sizes; prompts and source clips may be of any usual length.
Weights are held once: all workloads share one engine per submodule.

A build that is stopped goes on where it was. An engine is built again only if its graph,
weights, shapes, flags, TensorRT or the GPU have changed. TensorRT 10.6 or later is found
through TENSORRT_LIB_DIR, else where the system's loader looks.

Examples:
  bernini build EXPORT -o ENGINES --workload t2v-480p,v2v-480p
  bernini build EXPORT -o ENGINES --workload 640x384x49+640x384x49 --dry-run
  bernini build EXPORT -o ENGINES --workload t2v-480p --only transformer,transformer_2";

#[derive(Debug, Args)]
#[command(after_help = WORKLOADS)]
pub struct BuildArgs {
    /// The export: bf16 or fp8
    pub export: PathBuf,
    /// Where to write the engines
    #[arg(short, long, value_name = "ENGINES")]
    pub output: PathBuf,
    /// What the engines are for, see below
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    pub workload: Vec<Workload>,
    /// Build these engines only; others that the folder has stay
    #[arg(long, value_name = "SUBMODULE,…", value_delimiter = ',', value_parser = submodule)]
    pub only: Vec<Submodule>,
    /// Say what would be built and why, and build nothing; needs neither TensorRT nor a GPU
    #[arg(long)]
    pub dry_run: bool,
    /// 0 (fastest build) to 5 (fastest engine)
    #[arg(long, value_name = "LEVEL", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=5))]
    pub optimization_level: u8,
    /// Timings of an earlier build on the same GPU to start from, instead of ENGINES/timing.cache
    #[arg(long, value_name = "FILE")]
    pub timing_cache: Option<PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: ProgressKind,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
