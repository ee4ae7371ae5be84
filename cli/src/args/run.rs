//! Flags of `bernini run`, with the official names and defaults (spec H.3, G.6).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use bernini_runner::backend::TensorRtOptions;
use bernini_runner::presets::Version;
use bernini_runner::prompts::DEFAULT_NEG_PROMPT;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::ProgressKind;

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true, args_override_self = true)]
pub struct RunFlags {
    /// An export, which runs on the CPU, or an engine folder, which runs on the GPU
    pub folder: PathBuf,
    /// Case file: task_type, guidance_mode, prompt, video, image, images, output; overrides flags
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    pub case: Option<PathBuf>,
    /// Many cases, run one after another: a .json array or a .jsonl file, with keys as in --case
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// Recommended settings of the task, v1 or v2 (full model only); flags and case override them
    #[arg(long, value_name = "VERSION")]
    pub preset: Option<Version>,
    /// Show every setting and where it came from, and run nothing
    #[arg(long = "print-config")]
    pub print_config: bool,
    /// What to make
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// What to avoid
    #[arg(long = "neg_prompt", value_name = "TEXT", default_value = DEFAULT_NEG_PROMPT)]
    #[arg(hide_default_value = true)]
    pub neg_prompt: String,
    /// Goes before the prompt; empty: chosen by the task
    #[arg(long = "system_prompt", value_name = "TEXT", default_value = "")]
    pub system_prompt: String,
    /// Task: t2i, i2i, t2v, v2v, mv2v, r2v, rv2v, ads2v, r2i, i2v, vi2v, vr2v, vrc2v
    #[arg(long = "task_type", value_name = "TASK", default_value = "v2v")]
    pub task_type: String,
    /// Full model: vae_txt_vit_wapg, rv2v_wapg, v2v_apg, vae_txt_vit. Renderer-only: rv2v, v2v,
    /// v2v_chain, t2v, r2v_apg, v2v_apg, t2v_apg
    #[arg(long = "guidance_mode", value_name = "MODE", default_value = "rv2v")]
    pub guidance_mode: String,
    /// Source videos
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub video: Vec<PathBuf>,
    /// A source image
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Reference images (full model: not together with --image)
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub images: Vec<PathBuf>,
    /// The result: .mp4, .png, or a folder (ending in /) of png frames
    #[arg(short, long, value_name = "PATH", default_value = "outputs/output.mp4")]
    pub output: PathBuf,
    /// Frames of the result
    #[arg(long = "num_frames", value_name = "N", default_value_t = 81)]
    pub num_frames: usize,
    /// Longest side of a source
    #[arg(long = "max_image_size", value_name = "PIXELS", default_value_t = 848)]
    pub max_image_size: u32,
    /// Height of the result where no source sets it; 0 and 0 follow the source video
    #[arg(long, value_name = "PIXELS", default_value_t = 480)]
    pub height: u32,
    /// Width of the result where no source sets it
    #[arg(long, value_name = "PIXELS", default_value_t = 848)]
    pub width: u32,
    /// Denoising steps
    #[arg(long = "num_inference_steps", value_name = "N", default_value_t = 40)]
    pub num_inference_steps: usize,
    /// Weight of the source video
    #[arg(long = "omega_vid", value_name = "X", default_value_t = 1.25)]
    pub omega_vid: f64,
    /// Weight of the images
    #[arg(long = "omega_img", value_name = "X", default_value_t = 4.5)]
    pub omega_img: f64,
    /// Weight of the prompt
    #[arg(long = "omega_txt", value_name = "X", default_value_t = 4.0)]
    pub omega_txt: f64,
    /// Weight of the planned target (full model only)
    #[arg(long = "omega_tgt", value_name = "X", default_value_t = 0.5)]
    pub omega_tgt: f64,
    /// Factor on all weights from the first low-noise step on
    #[arg(long = "omega_scale", value_name = "X", default_value_t = 0.8)]
    pub omega_scale: f64,
    /// Full model: steps in which the planner reveals the target
    #[arg(long = "planning_step", value_name = "N", default_value_t = 25)]
    pub planning_step: usize,
    /// Full model: weight of the prompt in the planner
    #[arg(long = "vit_txt_cfg", value_name = "X", default_value_t = 1.2)]
    pub vit_txt_cfg: f64,
    /// Full model: weight of the sources in the planner, or none
    #[arg(long = "vit_img_cfg", value_name = "X", default_value = "1")]
    pub vit_img_cfg: ImgCfg,
    /// Full model: denoising steps of each planned feature
    #[arg(long = "vit_denoising_step", value_name = "N", default_value_t = 5)]
    pub vit_denoising_step: usize,
    /// Shift of the noise levels
    #[arg(long = "flow_shift", value_name = "X", default_value_t = 5.0)]
    pub flow_shift: f64,
    /// Seed of the initial noise
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Initial noise from a file instead: .npy, f32 1×16×T×h×w
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// Frames per second
    #[arg(long, default_value_t = 16)]
    pub fps: u32,
    /// Renderer-only _apg modes: share kept of the parallel part
    #[arg(long, value_name = "X", default_value_t = 0.5)]
    pub eta: f64,
    /// Renderer-only _apg modes: longest step of each term
    #[arg(long = "norm_threshold", num_args = 3, value_name = "X", default_values_t = [50.0; 3])]
    pub norm_threshold: Vec<f64>,
    /// Renderer-only _apg modes: momentum of each term
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub momentum: f64,
    /// UniPC (the default)
    #[arg(long = "use_unipc", overrides_with = "no_use_unipc")]
    pub use_unipc: bool,
    /// Euler instead of UniPC
    #[arg(long = "no-use_unipc")]
    pub no_use_unipc: bool,
    /// Number the sources (the default)
    #[arg(long = "use_src_tgt_id", overrides_with = "no_use_src_tgt_id")]
    pub use_src_tgt_id: bool,
    /// Do not number the sources
    #[arg(long = "no-use_src_tgt_id")]
    pub no_use_src_tgt_id: bool,
    /// Spread the numbers of many sources over the trained range (the default)
    #[arg(long = "interpolate_src_id", overrides_with = "no_interpolate_src_id")]
    pub interpolate_src_id: bool,
    /// Do not spread them
    #[arg(long = "no-interpolate_src_id")]
    pub no_interpolate_src_id: bool,
    /// Largest source number seen in training
    #[arg(long = "max_trained_src_id", value_name = "N", default_value_t = 5)]
    pub max_trained_src_id: usize,
    /// Have a chat model rewrite the prompt; BERNINI_PE_BASE_URL and BERNINI_PE_API_KEY (or
    /// OPENAI_…) say whom to ask
    #[arg(long = "use_pe")]
    pub use_pe: bool,
    /// Model of the prompt enhancer [default: BERNINI_PE_MODEL]
    #[arg(long = "pe_model", value_name = "MODEL", requires = "use_pe")]
    pub pe_model: Option<String>,
    /// Fail where the prompt enhancer does, instead of going on with the prompt as typed
    #[arg(long = "pe-required", requires = "use_pe")]
    pub pe_required: bool,
    /// Run every pass of the official schedule, equal ones too; the result is the same
    #[arg(long = "reference-schedule")]
    pub reference_schedule: bool,
    /// Engines: run those whose FP8 scales were never measured, for speed only
    #[arg(long = "allow-uncalibrated")]
    pub allow_uncalibrated: bool,
    /// Engines: most GPU memory to use, such as 60GiB; the rest is streamed
    #[arg(long = "vram-limit", value_name = "BYTES")]
    pub vram_limit: Option<Bytes>,
    /// Write the report to a JSON file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: ProgressKind,
    /// Print the report, or the settings, as JSON
    #[arg(long)]
    pub json: bool,
}

impl RunFlags {
    /// What these flags ask of engines.
    pub fn tensorrt_options(&self) -> TensorRtOptions {
        TensorRtOptions {
            allow_uncalibrated: self.allow_uncalibrated,
            vram_limit: self.vram_limit.map(|limit| limit.0),
        }
    }
}

/// A size such as `60GiB`, `512MiB` or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
        let unit =
            units.into_iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
        let size = unit.and_then(|(number, size)| {
            let number = number.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0)?;
            Some(Self((number * f64::from(size)) as u64))
        });
        size.ok_or_else(|| {
            "expected a size above 0, such as 60GiB, 512MiB or a number of bytes".into()
        })
    }
}

/// `--vit_img_cfg`: a number, or `none` for guidance without its own weight of the sources (K.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImgCfg(pub Option<f64>);

impl FromStr for ImgCfg {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|weight| Self(Some(weight))) }
    }
}

/// The flags, and which of them were typed.
#[derive(Debug)]
pub struct RunArgs {
    pub flags: RunFlags,
    typed: BTreeSet<String>,
}

impl RunArgs {
    /// Whether the flag of this field was typed.
    pub fn is_typed(&self, field: &str) -> bool {
        self.typed.contains(field)
    }
}

impl FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let ids = matches.ids().map(|id| id.as_str());
        let typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let typed = ids.filter(typed).map(String::from).collect();
        Ok(Self { flags: RunFlags::from_arg_matches(matches)?, typed })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for RunArgs {
    fn augment_args(command: Command) -> Command {
        RunFlags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        RunFlags::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_or_are_bytes() {
        for (text, bytes) in [("60GiB", 60 << 30), ("0.5 MiB", 1 << 19), ("3KiB", 3072), ("77", 77)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "GiB", "0", "-1GiB", "60GB", "NaN", "infGiB", "60 gib"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }
}
