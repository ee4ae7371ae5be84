//! What each submodule is called, and the names of its inputs and outputs (design §4).
//!
//! Exporter, builder and runner meet here: the model functions declare these names, the runner
//! feeds them.

mod ports;

use std::fmt;

pub use ports::{connector, flow_head, planner_lm, text_encoder, transformer, vae, vision};

/// One graph of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Submodule {
    /// Vision tower: patches to features.
    Vision,
    /// Language model of the planner.
    PlannerLm,
    /// Connector to the flow head.
    PredVit,
    /// What shifts, scales and gates every block of the flow head: times and conditions only.
    FlowHeadModulation,
    /// Flow-matching head: one step.
    FlowHead,
    /// Connector to the renderer's context.
    ProjGen,
    /// UMT5: token embeddings to hidden states.
    TextEncoder,
    /// Cross-attention keys and values of the high-noise expert.
    TransformerContext,
    /// The high-noise expert.
    Transformer,
    /// Cross-attention keys and values of the low-noise expert.
    Transformer2Context,
    /// The low-noise expert.
    Transformer2,
    /// VAE encoder, first frame.
    VaeEncoderFirst,
    /// VAE encoder, later chunks.
    VaeEncoderNext,
    /// VAE decoder, first latent frame.
    VaeDecoderFirst,
    /// VAE decoder, later chunks.
    VaeDecoderNext,
}

impl Submodule {
    /// Every submodule, in pipeline order.
    pub const ALL: [Self; 15] = [
        Self::Vision,
        Self::PlannerLm,
        Self::PredVit,
        Self::FlowHeadModulation,
        Self::FlowHead,
        Self::ProjGen,
        Self::TextEncoder,
        Self::TransformerContext,
        Self::Transformer,
        Self::Transformer2Context,
        Self::Transformer2,
        Self::VaeEncoderFirst,
        Self::VaeEncoderNext,
        Self::VaeDecoderFirst,
        Self::VaeDecoderNext,
    ];

    /// File stem of the graph.
    pub fn stem(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::PlannerLm => "planner_lm",
            Self::PredVit => "pred_vit",
            Self::FlowHeadModulation => "flow_head_modulation",
            Self::FlowHead => "flow_head",
            Self::ProjGen => "proj_gen",
            Self::TextEncoder => "text_encoder",
            Self::TransformerContext => "transformer_context",
            Self::Transformer => "transformer",
            Self::Transformer2Context => "transformer_2_context",
            Self::Transformer2 => "transformer_2",
            Self::VaeEncoderFirst => "vae_encoder_first",
            Self::VaeEncoderNext => "vae_encoder_next",
            Self::VaeDecoderFirst => "vae_decoder_first",
            Self::VaeDecoderNext => "vae_decoder_next",
        }
    }

    /// The submodule whose graph is called `stem`.
    pub fn from_stem(stem: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|submodule| submodule.stem() == stem)
    }

    /// The checkpoint component whose tensors it reads. Submodules of one component share its
    /// tensors; no tensor is shared between components.
    pub fn component(self) -> Component {
        match self {
            Self::Vision => Component::Vision,
            Self::PlannerLm => Component::PlannerLm,
            Self::PredVit | Self::ProjGen => Component::Connector,
            Self::FlowHeadModulation | Self::FlowHead => Component::FlowHead,
            Self::TextEncoder => Component::TextEncoder,
            Self::TransformerContext | Self::Transformer => Component::Transformer,
            Self::Transformer2Context | Self::Transformer2 => Component::Transformer2,
            Self::VaeEncoderFirst
            | Self::VaeEncoderNext
            | Self::VaeDecoderFirst
            | Self::VaeDecoderNext => Component::Vae,
        }
    }

    /// Stem of the file that holds its weights; the chunks of one VAE half share theirs.
    pub fn weights_stem(self) -> &'static str {
        match self {
            Self::VaeEncoderFirst | Self::VaeEncoderNext => "vae_encoder",
            Self::VaeDecoderFirst | Self::VaeDecoderNext => "vae_decoder",
            other => other.stem(),
        }
    }
}

impl fmt::Display for Submodule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stem())
    }
}

/// A part of the checkpoint with its own tensors and its own config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Vision tower of Qwen2.5-VL.
    Vision,
    /// Language model of Qwen2.5-VL.
    PlannerLm,
    /// What lies between planner, flow head and renderer.
    Connector,
    /// Flow-matching head.
    FlowHead,
    /// The learned embedding of a target token that is not revealed yet.
    MaskTokens,
    /// UMT5.
    TextEncoder,
    /// The high-noise expert.
    Transformer,
    /// The low-noise expert.
    Transformer2,
    /// The VAE.
    Vae,
}

impl Component {
    /// The components of a renderer-only checkpoint, in pipeline order.
    pub const RENDERER: [Self; 4] =
        [Self::TextEncoder, Self::Transformer, Self::Transformer2, Self::Vae];

    /// The components that the full package adds.
    pub const PLANNER: [Self; 5] =
        [Self::Vision, Self::PlannerLm, Self::Connector, Self::FlowHead, Self::MaskTokens];

    /// Whether a renderer-only checkpoint lacks it.
    pub fn is_planner(self) -> bool {
        Self::PLANNER.contains(&self)
    }

    /// Name in messages, and of a renderer component the folder in the diffusers layout.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::PlannerLm => "planner_lm",
            Self::Connector => "connector",
            Self::FlowHead => "flow_head",
            Self::MaskTokens => "mask_tokens",
            Self::TextEncoder => "text_encoder",
            Self::Transformer => "transformer",
            Self::Transformer2 => "transformer_2",
            Self::Vae => "vae",
        }
    }

    /// Path of its config below an export or an engine folder.
    pub fn config_file(self) -> String {
        format!("config/{}.json", self.name())
    }

    /// Why no graph reads the tensor `name`, if that is so on purpose. `layers` is the number of
    /// layers that the language model's graph runs.
    pub fn skipped(self, name: &str, layers: usize) -> Option<&'static str> {
        match (self, name) {
            (Self::TextEncoder, "shared.weight") => Some("token embedding: a table read by row"),
            (Self::TextEncoder, "encoder.embed_tokens.weight") => {
                Some("duplicate of shared.weight")
            }
            (Self::PlannerLm, "model.embed_tokens.weight") => {
                Some("token embedding: a table read by row")
            }
            (Self::PlannerLm, "lm_head.weight") => Some("nothing is generated token by token"),
            (Self::PlannerLm, "model.norm.weight") => Some("the output is taken before the norm"),
            (Self::PlannerLm, name) if name.starts_with(&format!("model.layers.{layers}.")) => {
                Some("the output is taken before the last layer")
            }
            (Self::MaskTokens, "mask_tokens") => Some("row 0 is a table; no other row is used"),
            _ => None,
        }
    }
}
