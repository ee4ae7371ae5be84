//! What a request comes to: defaults, then the preset, then flags, then the case file; each value
//! with where it came from.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context;
use bernini_graphs::manifest::Variant;
use bernini_runner::case::Case;
use bernini_runner::guidance::{ApgParams, GuidanceMode, Omegas};
use bernini_runner::presets::{Preset, Version};
use bernini_runner::renderer::SourceIds;
use bernini_runner::request::Request;
use bernini_runner::scheduler::SchedulerKind;
use serde::{Serialize, Serializer};

use super::RunArgs;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    Preset(Version),
    Flag,
    CaseFile,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(version) => write!(f, "preset {version}"),
            Self::Flag => f.write_str("flag"),
            Self::CaseFile => f.write_str("case file"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, Serialize)]
pub struct Setting<T> {
    value: T,
    from: Origin,
}

impl<T> Setting<T> {
    /// The case file's value over this one.
    fn or_case(self, case: Option<T>) -> Self {
        case.map_or(self, |value| Self { value, from: Origin::CaseFile })
    }
}

/// Every setting of one request, by the name of its flag.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    task_type: Setting<String>,
    guidance_mode: Setting<String>,
    prompt: Setting<String>,
    neg_prompt: Setting<String>,
    system_prompt: Setting<String>,
    video: Setting<Vec<PathBuf>>,
    image: Setting<Option<PathBuf>>,
    images: Setting<Vec<PathBuf>>,
    output: Setting<PathBuf>,
    num_frames: Setting<usize>,
    max_image_size: Setting<u32>,
    height: Setting<u32>,
    width: Setting<u32>,
    num_inference_steps: Setting<usize>,
    use_unipc: Setting<bool>,
    flow_shift: Setting<f64>,
    seed: Setting<u64>,
    noise: Setting<Option<PathBuf>>,
    fps: Setting<u32>,
    omega_vid: Setting<f64>,
    omega_img: Setting<f64>,
    omega_txt: Setting<f64>,
    omega_tgt: Setting<f64>,
    omega_scale: Setting<f64>,
    eta: Setting<f64>,
    norm_threshold: Setting<[f64; 3]>,
    momentum: Setting<f64>,
    use_src_tgt_id: Setting<bool>,
    interpolate_src_id: Setting<bool>,
    max_trained_src_id: Setting<usize>,
    planning_step: Setting<usize>,
    vit_txt_cfg: Setting<f64>,
    vit_img_cfg: Setting<Option<f64>>,
    vit_denoising_step: Setting<usize>,
    #[serde(rename = "reference-schedule")]
    reference_schedule: Setting<bool>,
}

/// Chooses between flag, preset and default.
struct Resolver<'a> {
    args: &'a RunArgs,
    preset: Option<(Version, &'static Preset)>,
}

impl Resolver<'_> {
    /// `value` is the flag's, or clap's default where it was not typed.
    fn flag<T>(&self, field: &str, value: T) -> Setting<T> {
        let typed = self.args.is_typed(field);
        Setting { value, from: if typed { Origin::Flag } else { Origin::Default } }
    }

    /// A setting that presets have, too.
    fn preset<T>(&self, field: &str, value: T, preset: impl FnOnce(&Preset) -> T) -> Setting<T> {
        match self.preset {
            Some((version, settings)) if !self.args.is_typed(field) => {
                Setting { value: preset(settings), from: Origin::Preset(version) }
            }
            _ => self.flag(field, value),
        }
    }

    /// A switch that is on unless `--no-…` was typed.
    fn switch(&self, field: &str, off: bool) -> Setting<bool> {
        let Setting { from, .. } = self.flag(&format!("no_{field}"), ());
        let from = if from == Origin::Flag { from } else { self.flag(field, ()).from };
        Setting { value: !off, from }
    }
}

impl Settings {
    /// The settings of one case, or of the flags alone.
    pub fn resolve(args: &RunArgs, case: Option<Case>) -> anyhow::Result<Self> {
        let (flags, case) = (&args.flags, case.map(CaseValues::from).unwrap_or_default());
        let task_type = Resolver { args, preset: None }
            .flag("task_type", flags.task_type.clone())
            .or_case(case.task_type);
        let preset =
            |version| Ok::<_, anyhow::Error>((version, Preset::get(version, &task_type.value)?));
        let preset = flags.preset.map(preset).transpose()?;
        let from = Resolver { args, preset };
        let mut norm_threshold = [0.0; 3];
        norm_threshold.copy_from_slice(&flags.norm_threshold);
        Ok(Self {
            guidance_mode: from
                .preset("guidance_mode", flags.guidance_mode.clone(), |p| p.guidance_mode.clone())
                .or_case(case.guidance_mode),
            prompt: from.flag("prompt", flags.prompt.clone()).or_case(case.prompt),
            neg_prompt: from
                .preset("neg_prompt", flags.neg_prompt.clone(), |p| p.neg_prompt().into()),
            system_prompt: from.flag("system_prompt", flags.system_prompt.clone()),
            video: from.flag("video", flags.video.clone()).or_case(case.video),
            image: from.flag("image", flags.image.clone()).or_case(case.image.map(Some)),
            images: from.flag("images", flags.images.clone()).or_case(case.images),
            output: from.flag("output", flags.output.clone()).or_case(case.output),
            num_frames: from.preset("num_frames", flags.num_frames, |p| p.num_frames),
            max_image_size: from
                .preset("max_image_size", flags.max_image_size, |p| p.max_image_size),
            height: from.preset("height", flags.height, |p| p.height),
            width: from.preset("width", flags.width, |p| p.width),
            num_inference_steps: from.preset(
                "num_inference_steps",
                flags.num_inference_steps,
                |p| p.num_inference_steps,
            ),
            use_unipc: from.switch("use_unipc", flags.no_use_unipc),
            flow_shift: from.preset("flow_shift", flags.flow_shift, |p| p.flow_shift),
            seed: from.flag("seed", flags.seed),
            noise: from.flag("noise", flags.noise.clone()),
            fps: from.flag("fps", flags.fps),
            omega_vid: from.preset("omega_vid", flags.omega_vid, |p| p.omega_vid),
            omega_img: from.preset("omega_img", flags.omega_img, |p| p.omega_img),
            omega_txt: from.preset("omega_txt", flags.omega_txt, |p| p.omega_txt),
            omega_tgt: from.preset("omega_tgt", flags.omega_tgt, |p| p.omega_tgt),
            omega_scale: from.preset("omega_scale", flags.omega_scale, |p| p.omega_scale),
            eta: from.flag("eta", flags.eta),
            norm_threshold: from.flag("norm_threshold", norm_threshold),
            momentum: from.flag("momentum", flags.momentum),
            use_src_tgt_id: from.switch("use_src_tgt_id", flags.no_use_src_tgt_id),
            interpolate_src_id: from.switch("interpolate_src_id", flags.no_interpolate_src_id),
            max_trained_src_id: from.flag("max_trained_src_id", flags.max_trained_src_id),
            planning_step: from.preset("planning_step", flags.planning_step, |p| p.planning_step),
            vit_txt_cfg: from.preset("vit_txt_cfg", flags.vit_txt_cfg, |p| p.vit_txt_cfg),
            vit_img_cfg: from.preset("vit_img_cfg", flags.vit_img_cfg.0, |p| p.vit_img_cfg),
            vit_denoising_step: from
                .preset("vit_denoising_step", flags.vit_denoising_step, |p| p.vit_denoising_step),
            reference_schedule: from.flag("reference_schedule", flags.reference_schedule),
            task_type,
        })
    }

    /// The request for a model.
    pub fn request(&self, variant: Variant) -> anyhow::Result<Request> {
        let mode = GuidanceMode::parse(&self.guidance_mode.value, variant);
        let unipc = self.use_unipc.value;
        Ok(Request {
            task_type: self.task_type.value.clone(),
            guidance_mode: mode
                .with_context(|| format!("guidance_mode (from: {})", self.guidance_mode.from))?,
            prompt: self.prompt.value.clone(),
            neg_prompt: self.neg_prompt.value.clone(),
            system_prompt: self.system_prompt.value.clone(),
            videos: self.video.value.clone(),
            image: self.image.value.clone(),
            images: self.images.value.clone(),
            output: self.output.value.clone(),
            num_frames: self.num_frames.value,
            max_image_size: self.max_image_size.value,
            height: self.height.value,
            width: self.width.value,
            num_inference_steps: self.num_inference_steps.value,
            scheduler: if unipc { SchedulerKind::UniPc } else { SchedulerKind::Euler },
            flow_shift: self.flow_shift.value,
            seed: self.seed.value,
            noise: self.noise.value.clone(),
            fps: self.fps.value,
            omegas: self.omegas(),
            apg: ApgParams {
                eta: self.eta.value,
                norm_threshold: self.norm_threshold.value,
                momentum: self.momentum.value,
            },
            source_ids: SourceIds {
                enabled: self.use_src_tgt_id.value,
                interpolate: self.interpolate_src_id.value,
                max_trained: self.max_trained_src_id.value,
            },
            planning_step: self.planning_step.value,
            vit_txt_cfg: self.vit_txt_cfg.value,
            vit_img_cfg: self.vit_img_cfg.value,
            vit_denoising_step: self.vit_denoising_step.value,
            reference_schedule: self.reference_schedule.value,
        })
    }

    fn omegas(&self) -> Omegas {
        Omegas {
            vid: self.omega_vid.value,
            img: self.omega_img.value,
            txt: self.omega_txt.value,
            tgt: self.omega_tgt.value,
            scale: self.omega_scale.value,
        }
    }
}

/// A case's values, absent where the case leaves a setting to the flags.
#[derive(Default)]
struct CaseValues {
    task_type: Option<String>,
    guidance_mode: Option<String>,
    prompt: Option<String>,
    video: Option<Vec<PathBuf>>,
    image: Option<PathBuf>,
    images: Option<Vec<PathBuf>>,
    output: Option<PathBuf>,
}

impl From<Case> for CaseValues {
    fn from(case: Case) -> Self {
        let some = |list: Vec<PathBuf>| Some(list).filter(|list| !list.is_empty());
        Self {
            task_type: case.task_type,
            guidance_mode: case.guidance_mode,
            prompt: Some(case.prompt),
            video: some(case.video.into_vec()),
            image: case.image,
            images: some(case.images),
            output: case.output,
        }
    }
}
