//! Flags of `bernini run`, with the official names and defaults (spec H.3, G.6).

use std::path::PathBuf;

use anyhow::{Context, bail};
use bernini_runner::case::Case;
use bernini_runner::guidance::{ApgParams, Omegas};
use bernini_runner::prompts::DEFAULT_NEG_PROMPT;
use bernini_runner::renderer::SourceIds;
use bernini_runner::request::Request;
use bernini_runner::scheduler::SchedulerKind;
use clap::Args;

use super::ProgressKind;

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct RunArgs {
    /// The export
    pub folder: PathBuf,
    /// Case file: task_type, guidance_mode, prompt, video, image, images, output; overrides flags
    #[arg(long, value_name = "FILE")]
    pub case: Option<PathBuf>,
    /// What to make
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// What to avoid [default: Wan's]
    #[arg(long = "neg_prompt", value_name = "TEXT")]
    pub neg_prompt: Option<String>,
    /// Goes before the prompt; empty: chosen by the task
    #[arg(long = "system_prompt", value_name = "TEXT", default_value = "")]
    pub system_prompt: String,
    /// Task: t2i, i2i, t2v, v2v, mv2v, r2v, rv2v, ads2v, r2i, i2v, vi2v, vr2v, vrc2v
    #[arg(long = "task_type", value_name = "TASK", default_value = "v2v")]
    pub task_type: String,
    /// rv2v, v2v, v2v_chain, t2v, r2v_apg, v2v_apg or t2v_apg
    #[arg(long = "guidance_mode", value_name = "MODE", default_value = "rv2v")]
    pub guidance_mode: String,
    /// Source videos
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub video: Vec<PathBuf>,
    /// A source image
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Reference images
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
    /// Height of the result where no source sets it
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
    /// Shift of the noise levels
    #[arg(long = "flow_shift", value_name = "X", default_value_t = 5.0)]
    pub flow_shift: f64,
    /// Seed of the initial noise
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Initial noise from a file instead: .npy, f32 [1,16,T,h,w]
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// Frames per second
    #[arg(long, default_value_t = 16)]
    pub fps: u32,
    /// _apg modes: share kept of the parallel part
    #[arg(long, value_name = "X", default_value_t = 0.5)]
    pub eta: f64,
    /// _apg modes: longest step of each term
    #[arg(long = "norm_threshold", num_args = 3, value_name = "X", default_values_t = [50.0; 3])]
    pub norm_threshold: Vec<f64>,
    /// _apg modes: momentum of each term
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
    /// Recompute what could be kept; the result is the same
    #[arg(long = "reference-schedule")]
    pub reference_schedule: bool,
    /// Write the report to a JSON file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: ProgressKind,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    /// What was typed, with the case file's values over it.
    pub fn request(&self) -> anyhow::Result<Request> {
        let case = self.case.as_deref().map(Case::read).transpose()?;
        let case = match case {
            Some(case) => case,
            None if self.prompt.is_empty() => bail!("--prompt is empty: pass it, or --case FILE"),
            None => Case { prompt: self.prompt.clone(), ..Case::default() },
        };
        let mode = case.guidance_mode.as_ref().unwrap_or(&self.guidance_mode);
        let videos = case.video.into_vec();
        Ok(Request {
            task_type: case.task_type.unwrap_or_else(|| self.task_type.clone()),
            guidance_mode: mode.parse().context("guidance_mode")?,
            prompt: case.prompt,
            neg_prompt: self.neg_prompt.clone().unwrap_or_else(|| DEFAULT_NEG_PROMPT.into()),
            system_prompt: self.system_prompt.clone(),
            videos: if videos.is_empty() { self.video.clone() } else { videos },
            image: case.image.or_else(|| self.image.clone()),
            images: if case.images.is_empty() { self.images.clone() } else { case.images },
            output: case.output.unwrap_or_else(|| self.output.clone()),
            num_frames: self.num_frames,
            max_image_size: self.max_image_size,
            height: self.height,
            width: self.width,
            num_inference_steps: self.num_inference_steps,
            scheduler: if self.no_use_unipc { SchedulerKind::Euler } else { SchedulerKind::UniPc },
            flow_shift: self.flow_shift,
            seed: self.seed,
            noise: self.noise.clone(),
            fps: self.fps,
            omegas: self.omegas(),
            apg: self.apg(),
            source_ids: SourceIds {
                enabled: !self.no_use_src_tgt_id,
                interpolate: !self.no_interpolate_src_id,
                max_trained: self.max_trained_src_id,
            },
            reference_schedule: self.reference_schedule,
        })
    }

    fn omegas(&self) -> Omegas {
        Omegas {
            vid: self.omega_vid,
            img: self.omega_img,
            txt: self.omega_txt,
            tgt: self.omega_tgt,
            scale: self.omega_scale,
        }
    }

    fn apg(&self) -> ApgParams {
        let mut norm_threshold = [0.0; 3];
        norm_threshold.copy_from_slice(&self.norm_threshold);
        ApgParams { eta: self.eta, norm_threshold, momentum: self.momentum }
    }
}
