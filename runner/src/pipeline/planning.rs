//! The planner's stages: sources through the vision tower, then the MaskGIT loop (spec D).

use std::time::Instant;

use bernini_graphs::models::PlannerConfigs;
use image::RgbImage;
use ndarray::Array2;

use super::{PlannerTables, Run, RunError};
use crate::media;
use crate::planner::{
    Brief, Planned, Planner, PlannerError, PlannerSettings, PlannerText, TargetGeometry,
    VisionTower, Visual, VisualKind, system_sentence,
};
use crate::renderer::{Contexts, padded};
use crate::request::SourcePlan;

impl Run<'_> {
    /// The contexts of the experts: text alone, or text and plan.
    pub(super) fn contexts(&mut self, text: &[Array2<f32>; 2]) -> Result<Contexts, RunError> {
        let [positive, negative] = text;
        let pipeline = self.pipeline;
        let full = (&pipeline.package.configs().planner, &pipeline.planner, self.plan.target);
        let (Some(configs), Some(tables), Some(target)) = full else {
            let positive = padded(positive, None);
            return Ok(Contexts {
                negative: padded(negative, None),
                planned: positive.clone(),
                positive,
            });
        };
        let planned = self.plan_target(configs, tables, target)?;
        let contexts = Contexts {
            negative: padded(negative, Some(&planned.wotxt_wovit)),
            positive: padded(positive, Some(&planned.wtxt_wovit)),
            planned: padded(positive, Some(&planned.wtxt_wvit)),
        };
        if let Some(trace) = &mut self.trace {
            trace.planned = Some(planned);
        }
        Ok(contexts)
    }

    fn plan_target(
        &mut self,
        configs: &PlannerConfigs,
        tables: &PlannerTables,
        target: TargetGeometry,
    ) -> Result<Planned, RunError> {
        let (request, pipeline) = (self.request, self.pipeline);
        let sources = self.view_sources(configs)?;
        self.progress.begin("planner", request.planning_step);
        let mut planner = self.report.time("load", 0, || {
            let (embeddings, mask_token) = tables.open()?;
            let backend = &*pipeline.backend;
            Planner::load(backend, configs, &tables.tokenizer, embeddings, mask_token)
        })?;
        let text = PlannerText {
            system: system_sentence(&request.task_type),
            prompt: &request.prompt,
            negative: &request.neg_prompt,
        };
        let settings = PlannerSettings {
            planning_step: request.planning_step,
            vit_txt_cfg: request.vit_txt_cfg,
            vit_img_cfg: request.vit_img_cfg,
            vit_denoising_step: request.vit_denoising_step,
            seed: request.seed,
            reference_schedule: request.reference_schedule,
        };
        let brief = Brief { text, sources: &sources, target };
        let (progress, start) = (self.progress, Instant::now());
        let planned = planner.plan(&brief, &settings, self.interrupted, || progress.advance());
        let planned = planned.map_err(|error| match error {
            PlannerError::Interrupted => RunError::Interrupted,
            other => RunError::Planner(other),
        })?;
        self.report.add("planner", start.elapsed(), planned.passes);
        self.report.planner_passes = planned.passes;
        // Three branches in every step, then two for the contexts (D.5).
        self.report.planner_passes_official = 3 * request.planning_step + 2;
        Ok(planned)
    }

    /// Every source as the vision tower sees it, with its features.
    fn view_sources(
        &mut self,
        configs: &PlannerConfigs,
    ) -> Result<Vec<(Visual, Array2<f32>)>, RunError> {
        let plan = self.plan;
        if plan.sources.is_empty() {
            return Ok(vec![]);
        }
        self.progress.begin("vision", plan.sources.len());
        let backend = &*self.pipeline.backend;
        let mut tower =
            self.report.time("load", 0, || VisionTower::load(backend, &configs.vision))?;
        let mut views = vec![];
        for source in &plan.sources {
            self.check_interrupt()?;
            let start = Instant::now();
            let (kind, frames) = frames_of(source)?;
            let (patches, grid) = media::vit_patches(&frames);
            let features = tower.features(patches, grid)?;
            self.report.add("vision", start.elapsed(), 1);
            self.progress.advance();
            views.push((Visual { kind, grid }, features));
        }
        Ok(views)
    }
}

/// The frames that the vision tower sees, at its size.
fn frames_of(source: &SourcePlan) -> Result<(VisualKind, Vec<RgbImage>), RunError> {
    let Some(indices) = &source.vit_frames else {
        let picture = media::vit_frame(&media::load_image(&source.path)?)?;
        return Ok((VisualKind::Image, vec![picture]));
    };
    let mut frames = vec![RgbImage::default(); indices.len()];
    media::visit_frames(&source.path, indices, |position, frame| {
        frames[position] = media::vit_frame(frame)?;
        Ok::<_, RunError>(())
    })?;
    Ok((VisualKind::Video, frames))
}
