//! The renderer-only pipeline from prompt to file (spec G.5, E.4, C).

mod denoise;
mod planning;
mod stages;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bernini_graphs::manifest::{MASK_TOKEN, PLANNER_EMBEDDINGS, Variant};
use ndarray::{Array2, Array4};

use crate::backend::{Backend, BackendError};
use crate::guidance::GuidanceError;
use crate::media::{MediaError, VitError};
use crate::noise::{NoiseError, TorchRng, read_noise};
use crate::package::{Package, PackageError};
use crate::planner::{Planned, PlannerError, QwenTokenizer, QwenTokenizerError};
use crate::report::{Report, peak_memory_bytes};
use crate::request::{Plan, Request, RequestError};
use crate::scheduler::SchedulerError;
use crate::text::{T5Tokenizer, TextError};
use crate::text_encoder::{EmbeddingTable, TextEncoderError};

/// Follows a run: a stage begins with its amount of work, then advances.
pub trait Progress {
    /// A stage begins that has `total` units of work.
    fn begin(&self, stage: &'static str, total: usize);
    /// One unit is done.
    fn advance(&self);
}

/// Follows nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &'static str, _: usize) {}
    fn advance(&self) {}
}

/// Values on the way from prompt to frames, for tests and for whoever debugs a checkpoint.
#[derive(Default)]
pub struct Trace {
    /// Text hidden states of the prompt and of the negative prompt, unpadded.
    pub prompt_embeds: Vec<Array2<f32>>,
    /// Latents of the sources.
    pub sources: Vec<Array4<f32>>,
    /// Full model: what the planner gave.
    pub planned: Option<Planned>,
    /// Guided velocity of every step.
    pub velocities: Vec<Array4<f32>>,
    /// Latents after every step.
    pub latents: Vec<Array4<f32>>,
}

/// An opened folder, ready to run requests one after another.
pub struct Pipeline {
    package: Package,
    backend: Box<dyn Backend>,
    tokenizer: T5Tokenizer,
    planner: Option<PlannerTables>,
}

/// What the planner needs besides graphs.
struct PlannerTables {
    tokenizer: QwenTokenizer,
    embeddings: PathBuf,
    mask_token: PathBuf,
}

impl PlannerTables {
    fn new(package: &Package) -> Result<Self, RunError> {
        let config = package.config_path("config/qwen_tokenizer/tokenizer_config.json")?;
        let folder = config.parent().unwrap_or(&config);
        Ok(Self {
            tokenizer: QwenTokenizer::from_folder(folder)?,
            embeddings: package.table_path(PLANNER_EMBEDDINGS)?,
            mask_token: package.table_path(MASK_TOKEN)?,
        })
    }

    /// Token embeddings, and the embedding of a target token that is not revealed yet.
    fn open(&self) -> Result<(EmbeddingTable, EmbeddingTable), TextEncoderError> {
        Ok((EmbeddingTable::open(&self.embeddings)?, EmbeddingTable::open(&self.mask_token)?))
    }
}

/// One request on its way.
struct Run<'a> {
    pipeline: &'a Pipeline,
    request: &'a Request,
    plan: &'a Plan,
    progress: &'a dyn Progress,
    interrupted: &'a AtomicBool,
    report: Report,
    trace: Option<Trace>,
    teacher: Option<&'a [Array4<f32>]>,
}

impl Pipeline {
    /// Opens the tokenizer; graphs are loaded when their stage begins.
    pub fn open(package: impl Into<Package>, backend: Box<dyn Backend>) -> Result<Self, RunError> {
        let package = package.into();
        let tokenizer =
            T5Tokenizer::from_file(&package.config_path("config/tokenizer/spiece.model")?)?;
        let full = package.variant() == Variant::Full;
        let planner = full.then(|| PlannerTables::new(&package)).transpose()?;
        Ok(Self { package, backend, tokenizer, planner })
    }

    /// Runs a request whose `plan` is its own, and writes the result.
    ///
    /// Setting `interrupted` ends the run at the next unit of work; nothing is left behind.
    pub fn run(
        &self,
        request: &Request,
        plan: &Plan,
        progress: &dyn Progress,
        interrupted: &AtomicBool,
    ) -> Result<Report, RunError> {
        Ok(self.execute(request, plan, progress, interrupted, None, None)?.0)
    }

    /// [`Pipeline::run`] that also keeps what lies on the way.
    pub fn run_traced(&self, request: &Request, plan: &Plan) -> Result<(Report, Trace), RunError> {
        let never = AtomicBool::new(false);
        let trace = Some(Trace::default());
        let (report, trace) = self.execute(request, plan, &Silent, &never, trace, None)?;
        Ok((report, trace.unwrap_or_default()))
    }

    /// A run whose steps can be compared with another's: with a `teacher`, the latents that another
    /// run had after every step, each step but the first begins at them, and nothing is decoded.
    pub fn follow(
        &self,
        request: &Request,
        plan: &Plan,
        teacher: Option<&[Array4<f32>]>,
        progress: &dyn Progress,
        interrupted: &AtomicBool,
    ) -> Result<(Report, Trace), RunError> {
        let trace = Some(Trace::default());
        let (report, trace) = self.execute(request, plan, progress, interrupted, trace, teacher)?;
        Ok((report, trace.unwrap_or_default()))
    }

    fn execute(
        &self,
        request: &Request,
        plan: &Plan,
        progress: &dyn Progress,
        interrupted: &AtomicBool,
        trace: Option<Trace>,
        teacher: Option<&[Array4<f32>]>,
    ) -> Result<(Report, Option<Trace>), RunError> {
        let start = Instant::now();
        self.backend.check(request, plan, &self.package)?;
        self.backend.expect(request, plan, &self.package);
        let report = Report {
            frames: plan.frames,
            width: plan.width,
            height: plan.height,
            target_tokens: plan.grid().tokens(),
            ..Report::default()
        };
        let mut run =
            Run { pipeline: self, request, plan, progress, interrupted, report, trace, teacher };
        let noise = run.initial_noise()?;
        let text = run.encode_prompts()?;
        let contexts = run.contexts(&text)?;
        let sources = run.encode_sources()?;
        let latents = run.denoise(noise, &contexts, &sources)?;
        if teacher.is_none() {
            run.decode(&latents)?;
        }
        run.note_device_use()?;
        let Run { mut report, trace, .. } = run;
        report.seconds = start.elapsed().as_secs_f64();
        report.peak_memory_bytes = peak_memory_bytes();
        report.gpu_idle_share = report.idle_share();
        Ok((report, trace))
    }
}

impl Run<'_> {
    fn check_interrupt(&self) -> Result<(), RunError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(RunError::Interrupted) } else { Ok(()) }
    }

    /// Adds what the GPU did since this was last called to its stages; seconds in all, if there is
    /// a GPU.
    fn note_device_use(&mut self) -> Result<Option<f64>, RunError> {
        let Some(used) = self.pipeline.backend.device_use()? else { return Ok(None) };
        for (&submodule, &seconds) in &used.seconds {
            self.report.add_gpu(submodule, seconds);
        }
        self.report.peak_gpu_memory_bytes = Some(used.peak_memory_bytes);
        self.report.loads.extend(used.loads);
        Ok(Some(used.seconds.values().sum()))
    }

    /// Latents at the highest noise level, `[16, t, 2h, 2w]`.
    fn initial_noise(&self) -> Result<Array4<f32>, RunError> {
        let (grid, channels) = (self.plan.grid(), self.pipeline.package.configs().vae.z_dim);
        let shape = [channels, grid.t, 2 * grid.h, 2 * grid.w];
        let values = match &self.request.noise {
            Some(path) => read_noise(path, [1, shape[0], shape[1], shape[2], shape[3]])?,
            None => TorchRng::new(self.request.seed).randn(shape.iter().product()),
        };
        Ok(Array4::from_shape_vec(shape, values).expect("invariant: as many values as elements"))
    }
}

/// Why a run ended without a result.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RunError {
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    TextEncoder(#[from] TextEncoderError),
    #[error(transparent)]
    Planner(#[from] PlannerError),
    #[error(transparent)]
    QwenTokenizer(#[from] QwenTokenizerError),
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error(transparent)]
    Vit(#[from] VitError),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    #[error(transparent)]
    Guidance(#[from] GuidanceError),
    #[error(transparent)]
    Noise(#[from] NoiseError),
    #[error("invariant: latents lie in C order")]
    Layout,
    #[error("interrupted; nothing was written")]
    Interrupted,
}
