//! Clean sources as extra tokens of the target's sequence (spec B.3, B.9).

use ndarray::{Array2, Array3, Array4};

use crate::backend::{Backend, BackendError};
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
    /// Tokens of the clean sources, one after the other.
    sources: Vec<f32>,
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
        let packed = sources.iter().flat_map(|(latents, _)| pack(latents).into_iter());
        let sources = packed.collect();
        Self { target, sources, rope_cos: cos.into(), rope_sin: sin.into() }
    }

    /// Keeps the rotary tables where sessions of `backend` read them.
    pub fn resident(mut self, backend: &dyn Backend) -> Result<Self, BackendError> {
        self.rope_cos = backend.resident(self.rope_cos)?;
        self.rope_sin = backend.resident(self.rope_sin)?;
        Ok(self)
    }

    /// The sequence f32 `[1, tokens, 64]` that begins with `target`, the step's packed latents.
    pub fn sequence(&self, target: &Array2<f32>) -> Tensor {
        let mut values = Vec::with_capacity(target.len() + self.sources.len());
        values.extend(target.iter());
        values.extend_from_slice(&self.sources);
        let shape = (1, values.len() / target.ncols(), target.ncols());
        Array3::from_shape_vec(shape, values)
            .expect("invariant: every segment has the token width")
            .into()
    }
}

/// The sources of a set with their ids, which are those of the whole request; only a set of
/// images without the videos counts from 1 again (B.9).
fn choose(sources: &[Source], set: SourceSet, ids: SourceIds) -> Vec<(&Array4<f32>, f64)> {
    let is_video: Vec<_> = sources.iter().map(|source| source.is_video).collect();
    let chosen = members(&is_video, set);
    let alone = set == SourceSet::Images;
    let counted = if alone { chosen.len() } else { sources.len() };
    let numbers = source_ids(counted, ids.max_trained, ids.interpolate);
    let id = |place: usize, index: usize| match ids.enabled {
        true => numbers[if alone { place } else { index }],
        false => 0.0,
    };
    let numbered = chosen.iter().enumerate();
    numbered.map(|(place, &index)| (&sources[index].latents, id(place, index))).collect()
}

/// Indices of the sources of a set; `is_video` says of each source whether it is one.
pub(crate) fn members(is_video: &[bool], set: SourceSet) -> Vec<usize> {
    let wanted = |index: &usize| match set {
        SourceSet::None => false,
        SourceSet::FirstVideo | SourceSet::Videos => is_video[*index],
        SourceSet::Images => !is_video[*index],
        SourceSet::All => true,
    };
    let most = if set == SourceSet::FirstVideo { 1 } else { is_video.len() };
    (0..is_video.len()).filter(wanted).take(most).collect()
}
