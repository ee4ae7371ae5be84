//! Clean sources as extra tokens of the target's sequence (spec B.3, B.9).

use ndarray::{Array2, Array4};

use crate::guidance::SourceSet;
use crate::latents::{Grid, pack};
use crate::rope::{Rope, source_ids};
use crate::tensor::Tensor;

/// A source video or image after the VAE.
#[derive(Clone, Debug)]
pub struct Source {
    /// Whether guidance treats it as a video.
    pub is_video: bool,
    /// Normalised latents f32 `[16, t, 2h, 2w]`.
    pub latents: Array4<f32>,
}

/// How sources are told apart from the target and from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceIds {
    /// Without this every id is 0 (`--[no-]use_src_tgt_id`).
    pub enabled: bool,
    /// Spread the ids over the trained range where there are more (`--[no-]interpolate_src_id`).
    pub interpolate: bool,
    /// Largest id seen in training (`--max_trained_src_id`).
    pub max_trained: usize,
}

/// Everything about a sequence of tokens that does not change from step to step.
pub struct Tokens {
    /// Grid of the target, whose tokens come first.
    pub target: Grid,
    sources: Vec<Array2<f32>>,
    /// f32 `[tokens, head_dim / 2]`.
    pub rope_cos: Tensor,
    /// f32 `[tokens, head_dim / 2]`.
    pub rope_sin: Tensor,
}

impl Tokens {
    /// The target and the sources of `set`; `sources` are in id order, videos first.
    pub fn new(
        target: Grid,
        sources: &[Source],
        set: SourceSet,
        ids: SourceIds,
        head_dim: usize,
    ) -> Self {
        Self::with_ids(target, &choose(sources, set, ids), head_dim)
    }

    /// The target and any latents `[16, t, 2h, 2w]`, each with its id.
    pub fn with_ids(target: Grid, sources: &[(&Array4<f32>, f64)], head_dim: usize) -> Self {
        let segments = sources.iter().map(|(latents, id)| (Grid::of(latents), *id));
        let segments: Vec<_> = std::iter::once((target, 0.0)).chain(segments).collect();
        let Rope { cos, sin } = Rope::new(&segments, head_dim);
        let sources = sources.iter().map(|(latents, _)| pack(latents)).collect();
        Self { target, sources, rope_cos: cos.into(), rope_sin: sin.into() }
    }

    /// The sequence `[1, tokens, 64]` for the noisy `latents` of a step.
    pub fn sequence(&self, latents: &Array4<f32>) -> Tensor {
        let target = pack(latents);
        let views: Vec<_> = std::iter::once(target.view())
            .chain(self.sources.iter().map(|source| source.view()))
            .collect();
        let tokens = ndarray::concatenate(ndarray::Axis(0), &views)
            .expect("invariant: every segment has the token width");
        tokens.insert_axis(ndarray::Axis(0)).into()
    }
}

/// The sources of a set with their ids, which are those of the whole request; only a set of
/// images without the videos counts from 1 again (B.9).
fn choose(sources: &[Source], set: SourceSet, ids: SourceIds) -> Vec<(&Array4<f32>, f64)> {
    let all = |source: &&Source| match set {
        SourceSet::Images => !source.is_video,
        _ => true,
    };
    let counted: Vec<_> = sources.iter().filter(all).collect();
    let numbers = source_ids(counted.len(), ids.max_trained, ids.interpolate);
    let number = |id| if ids.enabled { id } else { 0.0 };
    let numbered = counted.into_iter().zip(numbers.into_iter().map(number));
    let wanted: Vec<_> = match set {
        SourceSet::None => vec![],
        SourceSet::FirstVideo => numbered.filter(|(source, _)| source.is_video).take(1).collect(),
        SourceSet::Videos => numbered.filter(|(source, _)| source.is_video).collect(),
        SourceSet::Images | SourceSet::All => numbered.collect(),
    };
    wanted.into_iter().map(|(source, id)| (&source.latents, id)).collect()
}
