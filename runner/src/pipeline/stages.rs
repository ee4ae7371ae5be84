//! The stages around the denoising loop: prompts, sources, frames.

use std::time::{Duration, Instant};

use bernini_graphs::manifest::Variant;
use image::RgbImage;
use ndarray::{Array2, Array4};

use super::{Run, RunError};
use crate::media::{self, BackgroundSink};
use crate::prompts::system_prompt;
use crate::renderer::Source;
use crate::request::SourcePlan;
use crate::text;
use crate::text_encoder::TextEncoder;
use crate::vae::{VaeDecoder, VaeEncoder};

impl Run<'_> {
    /// Hidden states of the prompt and of the negative prompt, unpadded (E.4, K.2).
    pub(super) fn encode_prompts(&mut self) -> Result<[Array2<f32>; 2], RunError> {
        self.progress.begin("text", 2);
        let request = self.request;
        let system = match request.system_prompt.as_str() {
            "" => system_prompt(&request.task_type).unwrap_or_default(),
            given => given,
        };
        let positive = format!("{system}{}", text::clean(&request.prompt));
        let [positive, negative] = match self.pipeline.package.variant() {
            Variant::Full => [text::clean(&positive), text::clean(&request.neg_prompt)],
            Variant::Renderer => [positive, request.neg_prompt.clone()],
        };
        let mut encoder = self.report.time("load", 0, || {
            TextEncoder::open(&*self.pipeline.backend, &self.pipeline.package)
        })?;
        let mut encode = |prompt: &str| {
            self.check_interrupt()?;
            let ids = self.pipeline.tokenizer.encode(prompt);
            let hidden = self.report.time("text", 1, || encoder.encode(&ids))?;
            self.progress.advance();
            if let Some(trace) = &mut self.trace {
                trace.prompt_embeds.push(hidden.clone());
            }
            Ok::<_, RunError>(hidden)
        };
        Ok([encode(&positive)?, encode(&negative)?])
    }

    /// Latents of every source in id order.
    pub(super) fn encode_sources(&mut self) -> Result<Vec<Source>, RunError> {
        let plan = self.plan;
        let frames = |source: &SourcePlan| source.frames.as_ref().map_or(1, Vec::len);
        if plan.sources.is_empty() {
            return Ok(vec![]);
        }
        self.progress.begin("vae encode", plan.sources.iter().map(frames).sum());
        let chunk = self.pipeline.package.configs().vae.temporal_factor();
        let (backend, clips) =
            (&*self.pipeline.backend, plan.sources.iter().any(|source| frames(source) > 1));
        let mut encoder =
            self.report.time("load", 0, || VaeEncoder::load(backend, chunk, clips))?;
        let mut sources = vec![];
        for source in &plan.sources {
            let start = Instant::now();
            let mut push = |picture: &RgbImage| {
                self.check_interrupt()?;
                encoder.push(&media::resize_bicubic(picture, source.width, source.height))?;
                self.progress.advance();
                Ok::<_, RunError>(())
            };
            match &source.frames {
                Some(indices) => {
                    media::visit_frames(&source.path, indices, |_, frame| push(frame))?;
                }
                None => push(&media::load_image(&source.path)?)?,
            }
            let latents = encoder.finish()?;
            self.report.add("vae encode", start.elapsed(), frames(source));
            if let Some(trace) = &mut self.trace {
                trace.sources.push(latents.clone());
            }
            sources.push(Source { is_video: source.is_video, latents });
        }
        Ok(sources)
    }

    /// Decodes straight into the output as frames come; they are encoded while others are decoded.
    pub(super) fn decode(&mut self, latents: &Array4<f32>) -> Result<(), RunError> {
        let (request, plan) = (self.request, self.plan);
        self.progress.begin("vae decode", plan.frames);
        let (backend, clips) = (&*self.pipeline.backend, plan.frames > 1);
        let mut decoder = self.report.time("load", 0, || VaeDecoder::load(backend, clips))?;
        let mut sink = BackgroundSink::create(
            &request.output,
            plan.frames,
            (plan.width, plan.height),
            request.fps,
        )?;
        let start = Instant::now();
        let mut waiting = Duration::ZERO;
        decoder.decode(latents, |frame| {
            self.check_interrupt()?;
            let start = Instant::now();
            sink.write(frame)?;
            waiting += start.elapsed();
            self.progress.advance();
            Ok::<_, RunError>(())
        })?;
        self.report.add("vae decode", start.elapsed() - waiting, plan.frames);
        self.report.add("write", sink.finish()?, plan.frames);
        Ok(())
    }
}
