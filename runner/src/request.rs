//! One generation request, and what it comes to before any weight is touched.

use std::path::{Path, PathBuf};

use bernini_graphs::manifest::Variant;

use crate::guidance::{ApgParams, Available, Guidance, GuidanceError, GuidanceMode, Omegas};
use crate::latents::Grid;
use crate::media::{self, MediaError, Sampling, Sink, VideoInfo, VitError};
use crate::planner::{GeometryError, TargetGeometry, TargetRequest, vit_frames};
use crate::prompts;
use crate::renderer::SourceIds;
use crate::scheduler::{Scheduler, SchedulerError, SchedulerKind};
use crate::text::{self, TextError};

/// Short sides of sources below this are scaled up (C.1).
const fn min_size(variant: Variant) -> u32 {
    match variant {
        Variant::Full => 240,
        Variant::Renderer => 1,
    }
}
/// Most frames and longest side that a request may ask for.
const MAX_FRAMES: usize = 1024;
const MAX_SIDE: u32 = 4096;

/// Everything that a user can ask for; flags of spec H.3.
#[derive(Clone, Debug)]
pub struct Request {
    /// Task name, which chooses the system prompt (H.2).
    pub task_type: String,
    /// How the forwards of a step are combined (G.5).
    pub guidance_mode: GuidanceMode,
    /// What to make.
    pub prompt: String,
    /// What to avoid.
    pub neg_prompt: String,
    /// Goes before the prompt; empty means the task's own.
    pub system_prompt: String,
    /// Source videos.
    pub videos: Vec<PathBuf>,
    /// A source image, which also sets the size where there is no video.
    pub image: Option<PathBuf>,
    /// Reference images.
    pub images: Vec<PathBuf>,
    /// Where the result goes: `.mp4`, `.png`, or a folder of png frames.
    pub output: PathBuf,
    /// Frames of the result; cut to 4n + 1 and to the first video's length.
    pub num_frames: usize,
    /// Longest side of a source (C.1).
    pub max_image_size: u32,
    /// Height of the result, where no video or image sets it.
    pub height: u32,
    /// Width of the result, where no video or image sets it.
    pub width: u32,
    /// Denoising steps.
    pub num_inference_steps: usize,
    /// UniPC or Euler.
    pub scheduler: SchedulerKind,
    /// Shift of the noise levels towards the noisy end.
    pub flow_shift: f64,
    /// Seed of the initial noise.
    pub seed: u64,
    /// Initial noise from a file instead: f32 `[1, 16, t, h, w]`.
    pub noise: Option<PathBuf>,
    /// Frames per second of the result, and of the sources as they are sampled.
    pub fps: u32,
    /// Guidance weights.
    pub omegas: Omegas,
    /// Settings of the `_apg` modes.
    pub apg: ApgParams,
    /// Numbers of the sources.
    pub source_ids: SourceIds,
    /// Planner: MaskGIT steps.
    pub planning_step: usize,
    /// Planner: weight of the prompt in the flow head.
    pub vit_txt_cfg: f64,
    /// Planner: weight of the sources in the flow head; `None` leaves their branch out.
    pub vit_img_cfg: Option<f64>,
    /// Planner: steps of the flow head.
    pub vit_denoising_step: usize,
    /// Compute everything anew and every branch, as the official code does; same result.
    pub reference_schedule: bool,
}

/// A source clip or image after the size and time rules.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcePlan {
    /// The file.
    pub path: PathBuf,
    /// Frames of a video that the VAE reads; `None` for an image.
    pub frames: Option<Vec<usize>>,
    /// Frames of a video that the vision tower reads; `None` for an image.
    pub vit_frames: Option<Vec<usize>>,
    /// Whether guidance treats it as a video.
    pub is_video: bool,
    /// Width at which it enters the VAE.
    pub width: u32,
    /// Height at which it enters the VAE.
    pub height: u32,
}

impl SourcePlan {
    /// Token grid of its latents.
    pub fn grid(&self) -> Grid {
        let frames = self.frames.as_ref().map_or(1, Vec::len);
        let (h, w) = (self.height as usize / 16, self.width as usize / 16);
        Grid { t: media::latent_frames(frames), h, w }
    }
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Sources in id order: videos, the image, the images.
    pub sources: Vec<SourcePlan>,
    /// Frames of the result.
    pub frames: usize,
    /// Width of the result.
    pub width: u32,
    /// Height of the result.
    pub height: u32,
    /// Full model: the target as the planner sees it.
    pub target: Option<TargetGeometry>,
}

impl Plan {
    /// Token grid of the target.
    pub fn grid(&self) -> Grid {
        let (h, w) = (self.height as usize / 16, self.width as usize / 16);
        Grid { t: media::latent_frames(self.frames), h, w }
    }

    /// How many sources of each kind there are.
    pub fn available(&self) -> Available {
        let videos = self.sources.iter().filter(|source| source.is_video).count();
        Available { videos, images: self.sources.len() - videos }
    }
}

impl Request {
    /// Checks everything that can be checked without weights, and applies C.1–C.3 and K.12.
    pub fn plan(&self, variant: Variant) -> Result<Plan, RequestError> {
        self.check_numbers()?;
        text::check_prompt("prompt", &self.prompt)?;
        let optional = [("neg_prompt", &self.neg_prompt), ("system_prompt", &self.system_prompt)];
        for (field, text) in optional.into_iter().filter(|(_, text)| !text.trim().is_empty()) {
            text::check_prompt(field, text)?;
        }
        if prompts::system_prompt(&self.task_type).is_none() {
            let legal = prompts::task_types().collect::<Vec<_>>().join(", ");
            return Err(RequestError::Task { found: self.task_type.clone(), legal });
        }
        Scheduler::new(self.scheduler, self.num_inference_steps, self.flow_shift)?;
        let (mut sources, mut first) = (vec![], None);
        for path in &self.videos {
            let info = media::probe(path)?;
            sources.push(self.video(path, &info, variant)?);
            first.get_or_insert(info);
        }
        for path in self.image.iter().chain(&self.images) {
            sources.push(self.picture(path, variant)?);
        }
        let plan = match variant {
            Variant::Full => self.full_plan(sources, first.as_ref())?,
            Variant::Renderer => self.renderer_plan(sources)?,
        };
        Guidance::new(self.guidance_mode, plan.available(), self.omegas, self.apg)?;
        Sink::check(&self.output, plan.frames)?;
        Ok(plan)
    }

    fn video(
        &self,
        path: &Path,
        info: &VideoInfo,
        variant: Variant,
    ) -> Result<SourcePlan, RequestError> {
        let full = variant == Variant::Full;
        let sampling = Sampling::vae(self.fps, self.num_frames, !full);
        let frames = sampling.frame_indices(info.frames, info.fps);
        let (width, height) = self.source_size(info.width, info.height, variant)?;
        Ok(SourcePlan {
            path: path.into(),
            // The full sampler tells videos by their latents: a single frame is an image (B.9).
            is_video: !full || frames.len() > 1,
            vit_frames: Some(vit_frames(info, self.fps, self.num_frames)),
            frames: Some(frames),
            width,
            height,
        })
    }

    fn picture(&self, path: &Path, variant: Variant) -> Result<SourcePlan, RequestError> {
        let picture = media::load_image(path)?;
        let (width, height) = self.source_size(picture.width(), picture.height(), variant)?;
        let (frames, vit_frames) = (None, None);
        Ok(SourcePlan { path: path.into(), frames, vit_frames, is_video: false, width, height })
    }

    /// Size at which a source enters the VAE; the vision tower must take it too.
    fn source_size(
        &self,
        width: u32,
        height: u32,
        variant: Variant,
    ) -> Result<(u32, u32), RequestError> {
        if variant == Variant::Full {
            media::vit_size(width, height)?;
        }
        Ok(media::vae_size(width, height, self.max_image_size, min_size(variant)))
    }

    /// Sizes of the full model (C.3): the flags' where they are given, else the first video's.
    fn full_plan(
        &self,
        sources: Vec<SourcePlan>,
        video: Option<&VideoInfo>,
    ) -> Result<Plan, RequestError> {
        let target = TargetGeometry::new(&TargetRequest {
            num_frames: self.num_frames,
            height: self.height,
            width: self.width,
            fps: self.fps,
            max_image_size: self.max_image_size,
            video,
        })?;
        let TargetGeometry { frames, width, height, .. } = target;
        Ok(Plan { sources, frames, width, height, target: Some(target) })
    }

    /// Size from the first video, else from the image, else from the flags; the video's length
    /// bounds the frames.
    fn renderer_plan(&self, sources: Vec<SourcePlan>) -> Result<Plan, RequestError> {
        let video = sources.first().and_then(|first| first.frames.as_ref());
        let latent_frames = video.map(|frames| media::latent_frames(frames.len()));
        let frames = media::output_frames(self.num_frames, latent_frames);
        let sized = sources.first().filter(|_| video.is_some() || self.image.is_some());
        let (width, height) = match sized {
            Some(source) => (source.width, source.height),
            None => (self.snap("width", self.width)?, self.snap("height", self.height)?),
        };
        Ok(Plan { sources, frames, width, height, target: None })
    }

    /// Rounds a side to a multiple of 16, half to even as Python does.
    fn snap(&self, field: &'static str, side: u32) -> Result<u32, RequestError> {
        if side == 0 {
            return Err(RequestError::NoSize { field });
        }
        Ok(((f64::from(side) / 16.0).round_ties_even() as u32 * 16).max(16))
    }

    fn check_numbers(&self) -> Result<(), RequestError> {
        let range = |field, found: u64, legal: std::ops::RangeInclusive<u64>| {
            if legal.contains(&found) {
                return Ok(());
            }
            let (low, high) = (*legal.start(), *legal.end());
            Err(RequestError::Range { field, found, low, high })
        };
        range("num_frames", self.num_frames as u64, 1..=MAX_FRAMES as u64)?;
        range("height", self.height.into(), 0..=MAX_SIDE.into())?;
        range("width", self.width.into(), 0..=MAX_SIDE.into())?;
        range("max_image_size", self.max_image_size.into(), 16..=MAX_SIDE.into())?;
        range("fps", self.fps.into(), 1..=240)?;
        range("planning_step", self.planning_step as u64, 1..=1000)?;
        range("vit_denoising_step", self.vit_denoising_step as u64, 1..=1000)?;
        let weights = [("vit_txt_cfg", Some(self.vit_txt_cfg)), ("vit_img_cfg", self.vit_img_cfg)];
        if let Some((field, _)) = weights.iter().find(|(_, w)| w.is_some_and(|w| !w.is_finite())) {
            return Err(RequestError::NotFinite { field });
        }
        range("max_trained_src_id", self.source_ids.max_trained as u64, 1..=1024)
    }
}

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A number outside its range.
    #[error("{field}: expected {low} to {high}, found {found}")]
    Range {
        /// The flag.
        field: &'static str,
        /// Its value.
        found: u64,
        /// Smallest legal value.
        low: u64,
        /// Largest legal value.
        high: u64,
    },
    /// A weight that is no number.
    #[error("{field}: expected a finite number")]
    NotFinite {
        /// The flag.
        field: &'static str,
    },
    /// A picture that the vision tower does not take.
    #[error(transparent)]
    Vit(#[from] VitError),
    /// A target without a size.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Nothing says how large the result is.
    #[error("{field} is 0 and no source video sets the size: pass --height and --width")]
    NoSize {
        /// The flag.
        field: &'static str,
    },
    /// A task that nobody knows.
    #[error("task_type: expected one of {legal}, found {found:?}")]
    Task {
        /// Its name.
        found: String,
        /// The known ones.
        legal: String,
    },
    /// A prompt.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Steps or shift.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// Guidance weights.
    #[error(transparent)]
    Guidance(#[from] GuidanceError),
    /// A source or the output.
    #[error(transparent)]
    Media(#[from] MediaError),
}
