//! A request as a list of runs (design §4, §6; spec C, D, F, G).

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::Variant;
use bernini_graphs::models::PlannerConfigs;
use bernini_graphs::submodule::flow_head::MAX_ROWS;

use crate::guidance::{ApgParams, Available, Guidance, GuidanceError, GuidanceMode, Omegas};
use crate::latents::Grid;
use crate::planner::{GeometryError, TargetGeometry, TargetRequest, VisionIndex};
use crate::renderer::members;
use crate::scheduler::{Scheduler, SchedulerError, SchedulerKind};

/// Rows of a context whose prompt is no longer than 512 tokens.
const CONTEXT: usize = 512;
/// Tokens of a prompt with its role tags.
const PROMPT: usize = 128;
/// Frames per second of every clip.
const FPS: u32 = 16;
/// Preset v1 of the planner: reveals, and steps of the head in each.
const REVEALS: usize = 25;
const HEAD_STEPS: usize = 5;
/// Denoising steps of the presets: without sources, and with.
const STEPS: [usize; 2] = [50, 40];
const FLOW_SHIFT: f64 = 5.0;

/// A picture or a clip as the VAE sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// 4n + 1; one frame is a picture.
    pub frames: usize,
}

impl Clip {
    fn latent_frames(self) -> usize {
        (self.frames - 1) / 4 + 1
    }

    fn tokens(self) -> usize {
        self.latent_frames() * (self.height / 16) * (self.width / 16)
    }
}

/// What is asked for: a target and its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Name of the workload.
    pub name: String,
    /// What is generated.
    pub target: Clip,
    /// Sources.
    pub sources: Vec<Clip>,
}

/// Some runs of one submodule at the same sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The submodule.
    pub submodule: Submodule,
    /// Size of every symbol of its ports.
    pub sizes: BTreeMap<String, usize>,
    /// Runs in a request.
    pub runs: usize,
}

impl Job {
    fn new(submodule: Submodule, sizes: &[(&str, usize)], runs: usize) -> Self {
        let sizes = sizes.iter().map(|&(symbol, size)| (symbol.to_string(), size)).collect();
        Self { submodule, sizes, runs }
    }

    /// The submodule and its sizes, such as `transformer context=512 tokens=32760`.
    pub(super) fn name(&self) -> String {
        let sizes: Vec<_> =
            self.sizes.iter().map(|(symbol, size)| format!("{symbol}={size}")).collect();
        format!("{} {}", self.submodule, sizes.join(" "))
    }
}

/// Why a workload is no request.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum JobsError {
    #[error(transparent)]
    Guidance(#[from] GuidanceError),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

/// Every run of a request with the presets' settings, and its denoising steps by expert.
pub fn jobs(
    shape: &Shape,
    planner_configs: Option<&PlannerConfigs>,
    boundary_ratio: f64,
) -> Result<(Vec<Job>, [usize; 2]), JobsError> {
    let steps = STEPS[usize::from(!shape.sources.is_empty())];
    let scheduler = Scheduler::new(SchedulerKind::UniPc, steps, FLOW_SHIFT)?;
    let high = (0..steps).filter(|&i| scheduler.is_high_noise(i, boundary_ratio)).count();
    let steps = [high, steps - high];

    let mut jobs = vec![Job::new(Submodule::TextEncoder, &[("text_tokens", 512)], 2)];
    if let Some(configs) = planner_configs {
        jobs.extend(planner(shape, configs)?);
    }
    let variant = if planner_configs.is_some() { Variant::Full } else { Variant::Renderer };
    jobs.extend(experts(shape, variant, steps)?);
    let [encode, decode] = [
        [Submodule::VaeEncoderFirst, Submodule::VaeEncoderNext],
        [Submodule::VaeDecoderFirst, Submodule::VaeDecoderNext],
    ];
    jobs.extend(shape.sources.iter().flat_map(|source| vae(*source, encode)));
    jobs.extend(vae(shape.target, decode));
    Ok((jobs, steps))
}

/// One forward per branch of the guidance, in every step of an expert.
fn experts(shape: &Shape, variant: Variant, steps: [usize; 2]) -> Result<Vec<Job>, GuidanceError> {
    let is_video: Vec<_> = shape.sources.iter().map(|clip| clip.frames > 1).collect();
    let videos = is_video.iter().filter(|video| **video).count();
    let available = Available { videos, images: is_video.len() - videos };
    let mode = mode(variant, available);
    let omegas = Omegas { vid: 2.0, img: 2.0, txt: 2.0, tgt: 2.0, scale: 1.0 };
    let apg = ApgParams { eta: 0.0, norm_threshold: [0.0; 3], momentum: 0.0 };
    let guidance = Guidance::new(mode, available, omegas, apg)?;
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for branch in guidance.branches() {
        let sources = members(&is_video, branch.sources);
        let tokens: usize = sources.into_iter().map(|index| shape.sources[index].tokens()).sum();
        *counts.entry(shape.target.tokens() + tokens).or_default() += 1;
    }
    let contexts = if variant == Variant::Full { 3 } else { 2 };
    let noises = [
        (Submodule::TransformerContext, Submodule::Transformer, steps[0]),
        (Submodule::Transformer2Context, Submodule::Transformer2, steps[1]),
    ];
    let jobs = noises.into_iter().flat_map(|(context, transformer, steps)| {
        let forwards = counts.iter().map(move |(&tokens, &branches)| {
            let sizes = [("tokens", tokens), ("context", CONTEXT)];
            Job::new(transformer, &sizes, branches * steps)
        });
        std::iter::once(Job::new(context, &[("context", CONTEXT)], contexts)).chain(forwards)
    });
    Ok(jobs.collect())
}

/// The mode that a task has by default.
fn mode(variant: Variant, available: Available) -> GuidanceMode {
    match (variant, available.videos, available.images) {
        (Variant::Full, 1.., 1..) => GuidanceMode::Rv2vWapg,
        (Variant::Full, ..) => GuidanceMode::VaeTxtVitWapg,
        (Variant::Renderer, 0, 0) => GuidanceMode::T2vApg,
        (Variant::Renderer, 0, _) => GuidanceMode::R2vApg,
        (Variant::Renderer, _, 0) => GuidanceMode::V2v,
        (Variant::Renderer, ..) => GuidanceMode::Rv2v,
    }
}

/// The planner with preset v1 (D.5, D.9): prefixes once, those of the negative prompt and, with
/// sources, of the prompt without them, too; then the target alone, in the branches that the flow
/// head is guided by, whose rows are one batch; and the same once more for the contexts.
fn planner(shape: &Shape, configs: &PlannerConfigs) -> Result<Vec<Job>, GeometryError> {
    let (head_dim, window) = (configs.vision.head_dim(), configs.vision.window_size);
    let sources: Vec<Grid> =
        shape.sources.iter().map(|clip| seen(*clip)).collect::<Result<_, _>>()?;
    let vision = sources.iter().map(|&grid| {
        let windows = VisionIndex::new(grid, head_dim, window).window_gather.nrows();
        let sizes = [("frames", grid.t), ("frame_tokens", grid.h * grid.w), ("windows", windows)];
        Job::new(Submodule::Vision, &sizes, 1)
    });
    let (target, guided) = (seen(shape.target)?.tokens(), if sources.is_empty() { 1 } else { 2 });
    let prefix = PROMPT + sources.iter().map(|grid| grid.tokens()).sum::<usize>();
    let pass = |batch, tokens, past, runs| {
        let sizes = [("batch", batch), ("tokens", tokens), ("past", past)];
        Job::new(Submodule::PlannerLm, &sizes, runs)
    };
    let rows = target.div_ceil(REVEALS);
    let draws = REVEALS * rows.div_ceil(MAX_ROWS);
    let rows = [("batch", guided), ("rows", rows.min(MAX_ROWS))];
    let steps = ("steps", HEAD_STEPS);
    let others = [
        pass(guided + 1, prefix, 0, 1),
        pass(guided, target, prefix, REVEALS + 1),
        Job::new(Submodule::PredVit, &rows, draws),
        Job::new(Submodule::FlowHeadModulation, &[rows[0], rows[1], steps], draws),
        Job::new(Submodule::FlowHead, &rows, draws * HEAD_STEPS),
        Job::new(Submodule::ProjGen, &[("tokens", prefix + target)], 1),
    ];
    Ok(vision.chain(others).collect())
}

/// A clip in the vision tower.
fn seen(clip: Clip) -> Result<Grid, GeometryError> {
    let [width, height] = [clip.width, clip.height].map(|side| side as u32);
    let request = TargetRequest {
        num_frames: clip.frames,
        height,
        width,
        fps: FPS,
        max_image_size: width.max(height),
        video: None,
    };
    Ok(TargetGeometry::new(&request)?.visual.grid)
}

/// One chunk of one latent frame after the other.
fn vae(clip: Clip, [first, next]: [Submodule; 2]) -> impl Iterator<Item = Job> {
    let size = [("latent_height", clip.height / 8), ("latent_width", clip.width / 8)];
    let later = [&size[..], &[("latent_frames", 1)]].concat();
    let runs = clip.latent_frames() - 1;
    let later = (runs > 0).then(|| Job::new(next, &later, runs));
    std::iter::once(Job::new(first, &size, 1)).chain(later)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Clip = Clip { width: 832, height: 480, frames: 81 };

    fn forwards(sources: Vec<Clip>) -> Vec<(Submodule, usize, usize)> {
        let shape = Shape { name: "test".into(), target: CLIP, sources };
        let (jobs, _) = jobs(&shape, None, 0.875).unwrap();
        let experts = jobs.iter().filter(|job| job.sizes.contains_key("tokens"));
        experts.map(|job| (job.submodule, job.sizes["tokens"], job.runs)).collect()
    }

    /// spec/flops.md §2: 40 steps are 17 of the high-noise expert, 50 are 21.
    #[test]
    fn forwards_are_those_of_the_specification() {
        let (high, low) = (Submodule::Transformer, Submodule::Transformer2);
        assert_eq!(forwards(vec![]), [(high, 32_760, 2 * 21), (low, 32_760, 2 * 29)]);
        let v2v = forwards(vec![CLIP]);
        assert_eq!(v2v.iter().map(|job| job.1).max(), Some(65_520));
        let high: usize = v2v.iter().filter(|job| job.0 == high).map(|job| job.2).sum();
        assert_eq!(high % 17, 0);
    }

    #[test]
    fn a_clip_is_decoded_latent_frame_by_latent_frame() {
        let shape = Shape { name: "test".into(), target: CLIP, sources: vec![] };
        let (jobs, steps) = jobs(&shape, None, 0.875).unwrap();
        let runs =
            |submodule| jobs.iter().find(|job| job.submodule == submodule).map(|job| job.runs);
        assert_eq!(runs(Submodule::VaeDecoderFirst), Some(1));
        assert_eq!(runs(Submodule::VaeDecoderNext), Some(20));
        assert_eq!(runs(Submodule::VaeEncoderFirst), None);
        assert_eq!(steps, [21, 29]);
    }

    #[test]
    fn a_clip_of_480p_has_300_tokens_in_the_planner() {
        assert_eq!(seen(CLIP).unwrap().tokens(), 300);
    }
}
