//! The planner as a whole: sources and prompt in, rows of the renderer's contexts out (spec D).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bernini_graphs::Submodule;
use bernini_graphs::models::PlannerConfigs;
use bernini_graphs::submodule::flow_head::MAX_ROWS;
use ndarray::{Array2, Axis};

use super::flow_schedule::{FlowSchedule, guidance_chain};
use super::head::Head;
use super::language_model::{Behind, LanguageModel, Prefix};
use super::maskgit::{RevealSteps, reveal_order};
use super::stream::{Branch, PlannerText, TokenStream, Visual};
use super::tokenizer::QwenTokenizer;
use super::{PlannerError, TargetGeometry};
use crate::backend::{Backend, BackendError, Session};
use crate::noise::TorchRng;
use crate::tensor::Tensor;
use crate::text_encoder::EmbeddingTable;

/// Values of a target's latent patch that the official code draws and throws away (D.10).
const PATCH_VALUES: usize = 64;
/// Times that it does so: once per branch.
const PACKING_DRAWS: usize = 3;

/// Settings of the planner (spec D.11).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlannerSettings {
    /// MaskGIT steps.
    pub planning_step: usize,
    /// Weight of the prompt in the flow head.
    pub vit_txt_cfg: f64,
    /// Weight of the sources in the flow head; `None` leaves their branch out.
    pub vit_img_cfg: Option<f64>,
    /// Steps of the flow head.
    pub vit_denoising_step: usize,
    /// Seed of the reveal order and of the noise.
    pub seed: u64,
    /// Run every branch, and the prefixes anew in every step; the result is the same.
    pub reference_schedule: bool,
}

/// What is planned.
#[derive(Clone, Debug)]
pub struct Brief<'a> {
    /// Texts of the request.
    pub text: PlannerText<'a>,
    /// Sources as the vision tower sees them, with their features `[tokens, hidden_size]`: videos,
    /// then images.
    pub sources: &'a [(Visual, Array2<f32>)],
    /// The target's sizes.
    pub target: TargetGeometry,
}

/// Rows that go behind the text encoder's in the renderer's contexts (spec D.8), f32
/// `[tokens, text_dim]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Every token of the cond branch, in stream order.
    pub wtxt_wvit: Array2<f32>,
    /// Those of the cond branch that are not the target's.
    pub wtxt_wovit: Array2<f32>,
    /// Those of the uncond branch that are not the target's.
    pub wotxt_wovit: Array2<f32>,
    /// The target's embeddings, f32 `[target, hidden_size]`.
    pub target: Array2<f32>,
    /// Passes of the language model, counted by branch.
    pub passes: usize,
}

/// Everything of the planner that weights are needed for.
pub struct Planner<'a> {
    pub(super) configs: &'a PlannerConfigs,
    tokenizer: &'a QwenTokenizer,
    embeddings: EmbeddingTable,
    mask_token: EmbeddingTable,
    pub(super) language_model: LanguageModel,
    head: Head,
    pub(super) proj_gen: Box<dyn Session>,
}

/// The streams of the branches that run, in one order for all.
pub(super) struct Branches {
    names: Vec<Branch>,
    pub(super) streams: Vec<TokenStream>,
}

impl Branches {
    pub(super) fn index(&self, branch: Branch) -> usize {
        let found = self.names.iter().position(|name| *name == branch);
        found.expect("invariant: every branch of the guidance has a stream")
    }

    fn chosen(&self, indices: &[usize]) -> Vec<&TokenStream> {
        indices.iter().map(|&i| &self.streams[i]).collect()
    }
}

impl<'a> Planner<'a> {
    /// Loads the language model, the flow head and the connectors.
    pub fn load(
        backend: &'a dyn Backend,
        configs: &'a PlannerConfigs,
        tokenizer: &'a QwenTokenizer,
        embeddings: EmbeddingTable,
        mask_token: EmbeddingTable,
    ) -> Result<Self, PlannerError> {
        let rate = configs.vision.tokens_per_second;
        Ok(Self {
            configs,
            tokenizer,
            embeddings,
            mask_token,
            language_model: LanguageModel::load(backend, &configs.lm, rate)?,
            head: Head::load(backend)?,
            proj_gen: backend.load(Submodule::ProjGen)?,
        })
    }

    /// Plans; `step` is told of every MaskGIT step that is done.
    pub fn plan(
        &mut self,
        brief: &Brief<'_>,
        settings: &PlannerSettings,
        interrupted: &AtomicBool,
        mut step: impl FnMut(),
    ) -> Result<Planned, PlannerError> {
        let guidance = guidance_chain(
            settings.vit_txt_cfg as f32,
            settings.vit_img_cfg.map(|img| img as f32),
            !brief.sources.is_empty(),
            settings.reference_schedule,
        );
        let (seed, unused) = (settings.seed, brief.target.placeholder.tokens());
        // Millions of draws: made while the prefixes run.
        let rng = thread::spawn(move || after_packing(seed, unused));
        let branches = self.branches(brief, &guidance.branches)?;
        let guided: Vec<_> = guidance.branches.iter().map(|&b| branches.index(b)).collect();
        // Runs while all else is prepared.
        let mut prefix = self.prefix(brief, &branches)?;
        let mut behind = self.behind(&branches, &guided, &prefix)?;

        let tokens = brief.target.visual.grid.tokens();
        let (steps, shift) = (settings.vit_denoising_step, self.configs.flow_head.shift);
        let sampler = self.head.sampler(&FlowSchedule::new(steps, shift), &guidance)?;
        let mut embeds = self.language_model.embeds(guided.len(), tokens)?;
        let masked = self.mask_token.rows(&[0])?;
        let channels = masked.ncols();
        let masked = masked.select(Axis(0), &vec![0; tokens]);
        place(&mut embeds, &Vec::from_iter(0..tokens), &masked.into())?;
        let order = reveal_order(seed, tokens);
        let reveals: Vec<_> = RevealSteps::new(order, settings.planning_step).collect();
        let most = reveals.iter().map(Vec::len).max().unwrap_or(0);
        let mut rng = rng.join().expect("invariant: drawing does not panic");
        for reveal in reveals {
            if interrupted.load(Ordering::Relaxed) {
                return Err(PlannerError::Interrupted);
            }
            if settings.reference_schedule {
                prefix = self.prefix(brief, &branches)?;
                behind = self.behind(&branches, &guided, &prefix)?;
            }
            if !reveal.is_empty() {
                let hidden = self.language_model.target(&behind, &embeds)?;
                // Drawn while the GPU runs that pass.
                let noise = noise(&mut rng, reveal.len(), [most, channels]);
                let rows = repeated(&reveal, most);
                let rows = rows.chunks(MAX_ROWS).zip(noise.axis_chunks_iter(Axis(0), MAX_ROWS));
                for ((rows, noise), reveal) in rows.zip(reveal.chunks(MAX_ROWS)) {
                    let hidden = self.language_model.select(&hidden, rows)?;
                    let drawn = self.head.draw(&sampler, noise.to_owned(), &hidden)?;
                    place(&mut embeds, reveal, &drawn)?;
                }
            }
            step();
        }
        let cond = guidance.branches.iter().position(|&branch| branch == Branch::Cond);
        let cond = cond.expect("invariant: every guidance ends with cond");
        // One more pass over the finished target, of all branches: another shape would take longer.
        let hidden = self.language_model.target(&behind, &embeds)?;
        let hidden = (&hidden, cond * tokens..(cond + 1) * tokens);
        self.contexts(&branches, &prefix, hidden, &embeds)
    }

    /// Streams of cond, uncond and whatever else the flow head's guidance runs.
    fn branches(&self, brief: &Brief<'_>, head: &[Branch]) -> Result<Branches, PlannerError> {
        let mut names = vec![Branch::Cond, Branch::Uncond];
        names.extend(head.iter().filter(|b| **b == Branch::ImgCond));
        let visuals: Vec<_> = brief.sources.iter().map(|(visual, _)| *visual).collect();
        let target = brief.target.visual;
        let stream = |&name| TokenStream::new(self.tokenizer, name, brief.text, &visuals, target);
        let streams = names.iter().map(stream).collect::<Result<_, _>>()?;
        Ok(Branches { names, streams })
    }

    /// Runs the prefix of every branch, as one batch.
    fn prefix(&mut self, brief: &Brief<'_>, branches: &Branches) -> Result<Prefix, PlannerError> {
        let streams: Vec<_> = branches.streams.iter().collect();
        let longest = streams.iter().map(|stream| stream.prefix_len()).max().unwrap_or(0);
        let mut embeds = self.language_model.embeds(streams.len(), longest)?;
        for (branch, stream) in streams.iter().enumerate() {
            let rows = self.prefix_embeds(stream, brief)?;
            let count = rows.nrows();
            let copied = embeds.copy_rows(branch * longest, &rows.into(), 0..count);
            copied.map_err(BackendError::from)?;
        }
        Ok(self.language_model.prefix(&streams, &embeds)?)
    }

    /// Embeddings `[prefix, hidden_size]`: table rows, and the features of sources.
    fn prefix_embeds(
        &self,
        stream: &TokenStream,
        brief: &Brief<'_>,
    ) -> Result<Array2<f32>, PlannerError> {
        let kept: Vec<_> = stream.prefix().collect();
        let ids: Vec<_> = kept.iter().map(|&token| stream.ids[token]).collect();
        let mut rows = self.embeddings.rows(&ids)?;
        for (block, (_, features)) in stream.sources.iter().zip(brief.sources) {
            for (token, feature) in block.range().zip(features.rows()) {
                // Sources stand before the target, so their place in the prefix is their own.
                rows.row_mut(token).assign(&feature);
            }
        }
        Ok(rows)
    }

    /// What the target is run against in the branches `chosen`.
    fn behind(
        &self,
        branches: &Branches,
        chosen: &[usize],
        prefix: &Prefix,
    ) -> Result<Behind, PlannerError> {
        let streams = branches.chosen(chosen);
        Ok(self.language_model.behind(&streams, chosen, prefix)?)
    }
}

/// Puts the first rows of `drawn` in the places of `tokens` in every branch of `embeds`
/// `[branches, target, hidden_size]`.
fn place(embeds: &mut Tensor, tokens: &[usize], drawn: &Tensor) -> Result<(), BackendError> {
    let (branches, target) = (embeds.shape()[0], embeds.shape()[1]);
    for start in (0..branches).map(|branch| branch * target) {
        // Tokens that follow one another are one copy.
        let mut row = 0;
        for tokens in tokens.chunk_by(|a, b| a + 1 == *b) {
            embeds.copy_rows(start + tokens[0], drawn, row..row + tokens.len())?;
            row += tokens.len();
        }
    }
    Ok(())
}

/// The tokens `reveal`, the last of them repeated up to `count`: every step has the same shapes, so
/// that TensorRT sets up no context anew within the loop.
fn repeated(reveal: &[usize], count: usize) -> Vec<usize> {
    let last = reveal.last().into_iter().cycle();
    reveal.iter().chain(last).take(count).copied().collect()
}

/// Standard normals for the first `rows` rows of a matrix of this `shape`; the others are zeros, and
/// what is drawn from them is forgotten.
fn noise(rng: &mut TorchRng, rows: usize, shape: [usize; 2]) -> Array2<f32> {
    let mut noise = Array2::zeros(shape);
    let values = rng.randn(rows * shape[1]);
    noise.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    noise
}

/// torch's generator after the draws that the official code makes and throws away.
fn after_packing(seed: u64, latent_tokens: usize) -> TorchRng {
    let mut rng = TorchRng::new(seed);
    for _ in 0..PACKING_DRAWS {
        rng.skip_randn(latent_tokens * PATCH_VALUES);
    }
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_many_in_every_step_and_begin_with_the_revealed_ones() {
        assert_eq!(repeated(&[4, 7], 5), [4, 7, 7, 7, 7]);
        assert_eq!(repeated(&[4, 7], 2), [4, 7]);
        assert_eq!(repeated(&[], 3), [0; 0]);
    }
}
