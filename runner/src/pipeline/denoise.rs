//! The denoising loop (spec G): one expert after the other, from noise to clean latents.

use std::time::Instant;

use ndarray::{Array2, Array4, ArrayView4};

use super::{Run, RunError};
use crate::backend::Session;
use crate::guidance::{Branch, Context, Guidance};
use crate::latents::pack;
use crate::renderer::{Contexts, Expert, ExpertContext, Noise, Source, Tokens};
use crate::report::ExpertReport;
use crate::scheduler::Scheduler;

impl Run<'_> {
    /// The denoising loop: one expert after the other, from noise to clean latents.
    pub(super) fn denoise(
        &mut self,
        mut latents: Array4<f32>,
        contexts: &Contexts,
        sources: &[Source],
    ) -> Result<Array4<f32>, RunError> {
        let request = self.request;
        let mut scheduler =
            Scheduler::new(request.scheduler, request.num_inference_steps, request.flow_shift)?;
        let available = self.plan.available();
        let guidance_of = |reference| {
            Guidance::new(request.guidance_mode, available, request.omegas, request.apg)
                .map(|guidance| guidance.with_reference_schedule(reference))
        };
        let mut guidance = guidance_of(request.reference_schedule)?;
        let steps = scheduler.timesteps().len();
        let boundary = self.pipeline.package.boundary_ratio();
        let high = (0..steps).filter(|&i| scheduler.is_high_noise(i, boundary)).count();
        (self.report.steps_high_noise, self.report.steps_low_noise) = (high, steps - high);
        self.report.forwards_official = steps * guidance_of(true)?.branches().len();
        self.progress.begin("denoise", steps * guidance.branches().len());

        let phases = [(Noise::High, 0..high), (Noise::Low, high..steps)];
        for (noise, range) in phases.into_iter().filter(|(_, range)| !range.is_empty()) {
            if noise == Noise::Low {
                guidance.switch_to_low_noise();
            }
            let branches = guidance.branches().to_vec();
            let mut forwards = self.load_expert(noise, &branches, contexts, sources)?;
            let expert = self.begin_expert(noise, range.len(), branches.len())?;
            for i in range {
                let timestep = scheduler.timesteps()[i];
                let packed = pack(&latents);
                let mut predictions = vec![];
                for (index, branch) in branches.iter().enumerate() {
                    self.check_interrupt()?;
                    self.pipeline.backend.begin_branch(*branch);
                    predictions.push(forwards.run(self, index, &packed, timestep)?);
                    self.progress.advance();
                }
                let start = Instant::now();
                let views: Vec<ArrayView4<'_, f32>> =
                    predictions.iter().map(|prediction| prediction.view()).collect();
                let sigma = scheduler.sigma(i);
                let velocity = guidance.combine(&views, &latents.view(), sigma)?;
                let (flow, sample) = (velocity.as_slice(), latents.as_slice_mut());
                let (Some(flow), Some(sample)) = (flow, sample) else {
                    return Err(RunError::Layout);
                };
                scheduler.step(i, flow, sample)?;
                self.report.add("guidance", start.elapsed(), 1);
                if let Some(trace) = &mut self.trace {
                    trace.velocities.push(velocity);
                    trace.latents.push(latents.clone());
                }
                if let Some(teacher) = self.teacher {
                    latents.clone_from(teacher.get(i).ok_or(RunError::Layout)?);
                }
            }
            self.end_expert(expert)?;
        }
        Ok(latents)
    }

    /// An expert's steps begin; what the GPU did before is not theirs.
    fn begin_expert(
        &mut self,
        noise: Noise,
        steps: usize,
        branches: usize,
    ) -> Result<(ExpertReport, Instant), RunError> {
        self.note_device_use()?;
        let name = noise.transformer().stem();
        let forwards = steps * branches;
        let report = ExpertReport { name, steps, forwards, ..ExpertReport::default() };
        Ok((report, Instant::now()))
    }

    fn end_expert(&mut self, (mut expert, start): (ExpertReport, Instant)) -> Result<(), RunError> {
        // Every prediction was downloaded, so the GPU is done.
        expert.seconds = start.elapsed().as_secs_f64();
        expert.seconds_per_step = expert.seconds / expert.steps as f64;
        expert.gpu_seconds = self.note_device_use()?;
        self.report.experts.push(expert);
        Ok(())
    }

    /// Loads an expert and everything of it that stays the same over the steps.
    fn load_expert<'c>(
        &mut self,
        noise: Noise,
        branches: &[Branch],
        contexts: &'c Contexts,
        sources: &[Source],
    ) -> Result<Forwards<'c>, RunError> {
        let (backend, configs) = (&*self.pipeline.backend, self.pipeline.package.configs());
        let config = match noise {
            Noise::High => &configs.transformer,
            Noise::Low => &configs.transformer_2,
        };
        let (head_dim, ids) = (config.attention_head_dim, self.request.source_ids);
        let grid = self.plan.grid();
        let tokens = branches.iter().map(|branch| {
            Tokens::new(grid, sources, branch.sources, ids, head_dim).resident(backend)
        });
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        let longest = tokens.iter().map(|tokens| tokens.rope_cos.shape()[0]).max();
        self.report.max_tokens = self.report.max_tokens.max(longest.unwrap_or(0));
        let mut context_session = self.report.time("load", 0, || backend.load(noise.context()))?;
        let keep = !self.request.reference_schedule;
        let mut kept: Vec<(Context, ExpertContext)> = vec![];
        for branch in branches.iter().filter(|_| keep) {
            let context = contexts.canonical(branch.context);
            if kept.iter().all(|(known, _)| *known != context) {
                let (session, rows) = (&mut *context_session, contexts.get(context));
                let made = self.report.time("context", 1, || ExpertContext::new(session, rows))?;
                kept.push((context, made.resident(backend)?));
            }
        }
        let expert = self.report.time("load", 0, || Expert::load(backend, noise, config))?;
        let seen = branches.iter().map(|branch| match keep {
            true => contexts.canonical(branch.context),
            false => branch.context,
        });
        let branches = seen.zip(tokens).collect();
        Ok(Forwards { noise, expert, branches, kept, contexts, context_session })
    }
}

/// A loaded expert with its branches.
struct Forwards<'c> {
    noise: Noise,
    expert: Expert,
    branches: Vec<(Context, Tokens)>,
    /// Keys and values of each context, where they are kept.
    kept: Vec<(Context, ExpertContext)>,
    contexts: &'c Contexts,
    context_session: Box<dyn Session>,
}

impl Forwards<'_> {
    /// Velocity of one branch.
    fn run(
        &mut self,
        run: &mut Run<'_>,
        branch: usize,
        packed: &Array2<f32>,
        timestep: f32,
    ) -> Result<Array4<f32>, RunError> {
        let (context, tokens) = &self.branches[branch];
        let recomputed;
        let context = match self.kept.iter().find(|(known, _)| known == context) {
            Some((_, kept)) => kept,
            None => {
                let session = &mut *self.context_session;
                let rows = self.contexts.get(*context);
                recomputed = run.report.time("context", 1, || ExpertContext::new(session, rows))?;
                &recomputed
            }
        };
        let stage = if self.noise == Noise::High { "dit high" } else { "dit low" };
        let expert = &mut self.expert;
        run.report.forwards += 1;
        Ok(run.report.time(stage, 1, || expert.velocity(packed, tokens, timestep, context))?)
    }
}
