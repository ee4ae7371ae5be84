//! The vision tower on one source (spec D.6).

use bernini_graphs::Submodule;
use bernini_graphs::config::VisionConfig;
use bernini_graphs::submodule::vision::{
    FEATURES, PATCHES, ROPE_COS, ROPE_SIN, WINDOW_BIAS, WINDOW_GATHER, WINDOW_SCATTER,
};
use ndarray::{Array2, Array3};

use super::vision::VisionIndex;
use crate::backend::{Backend, BackendError, Session};
use crate::latents::Grid;
use crate::tensor::Tensor;

/// The vision tower, loaded.
pub struct VisionTower {
    session: Box<dyn Session>,
    config: VisionConfig,
}

impl VisionTower {
    /// Loads the graph.
    pub fn load(backend: &dyn Backend, config: &VisionConfig) -> Result<Self, BackendError> {
        Ok(Self { session: backend.load(Submodule::Vision)?, config: config.clone() })
    }

    /// Features f32 `[t·h·w, out_hidden_size]` of patches f32 `[t, 4·h·w, 1176]`, whose `grid`
    /// counts merged tokens.
    pub fn features(
        &mut self,
        patches: Array3<f32>,
        grid: Grid,
    ) -> Result<Array2<f32>, BackendError> {
        let VisionIndex { rope, window_gather, window_scatter, window_bias } =
            VisionIndex::new(grid, self.config.head_dim(), self.config.window_size);
        let inputs = [
            (PATCHES, Tensor::from(patches)),
            (ROPE_COS, rope.cos.into()),
            (ROPE_SIN, rope.sin.into()),
            (WINDOW_GATHER, window_gather.into()),
            (WINDOW_SCATTER, window_scatter.into()),
            (WINDOW_BIAS, window_bias.into()),
        ];
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        self.session.run(&inputs)?.take_f32(FEATURES)
    }
}
