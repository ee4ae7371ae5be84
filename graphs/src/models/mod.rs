//! One file per submodule; each reads like the block diagram.

pub mod dit;
pub mod dit_context;
pub mod umt5;
pub mod vae;
mod vae_blocks;

use crate::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::{BuildErrors, Checkpoint, Graph, GraphBuilder, Precision, Submodule};

/// The configs of the components that a checkpoint has graphs for.
#[derive(Clone, Debug)]
pub struct Configs {
    /// UMT5.
    pub text_encoder: TextEncoderConfig,
    /// The high-noise expert.
    pub transformer: TransformerConfig,
    /// The low-noise expert.
    pub transformer_2: TransformerConfig,
    /// The VAE.
    pub vae: VaeConfig,
}

/// Traces one submodule against the tensors of its component.
///
/// `taps` turns every named intermediate value into an output.
pub fn build(
    submodule: Submodule,
    configs: &Configs,
    checkpoint: &dyn Checkpoint,
    precision: Precision<'_>,
    taps: bool,
) -> Result<Graph, BuildErrors> {
    let g = GraphBuilder::new(submodule.stem(), checkpoint, precision);
    let g = if taps { g.with_taps() } else { g };
    match submodule {
        Submodule::TextEncoder => umt5::text_encoder(&g, &configs.text_encoder),
        Submodule::TransformerContext => dit_context::transformer_context(&g, &configs.transformer),
        Submodule::Transformer => dit::transformer(&g, &configs.transformer),
        Submodule::Transformer2Context => {
            dit_context::transformer_context(&g, &configs.transformer_2);
        }
        Submodule::Transformer2 => dit::transformer(&g, &configs.transformer_2),
        Submodule::VaeEncoderFirst => vae::encoder(&g, &configs.vae, vae::Position::First),
        Submodule::VaeEncoderNext => vae::encoder(&g, &configs.vae, vae::Position::Next),
        Submodule::VaeDecoderFirst => vae::decoder(&g, &configs.vae, vae::Position::First),
        Submodule::VaeDecoderNext => vae::decoder(&g, &configs.vae, vae::Position::Next),
    }
    g.finish()
}
