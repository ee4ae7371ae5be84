//! What each submodule is called, and the names of its inputs and outputs (design §4).
//!
//! Exporter, builder and runner meet here: the model functions declare these names, the runner
//! feeds them.

use std::fmt;

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

/// Ports of the vision tower.
pub mod vision {
    /// f32 `[frames, 4·frame_tokens, 1176]`: pixels of each patch, in the processor's order (C.5).
    pub const PATCHES: &str = "patches";
    /// f32 `[patches, head_dim / 2]`: cosines of the rotary angles.
    pub const ROPE_COS: &str = "rope_cos";
    /// f32 `[patches, head_dim / 2]`: sines of the rotary angles.
    pub const ROPE_SIN: &str = "rope_sin";
    /// i64 `[windows, window_patches]`: the patch in each place, any where it is empty.
    pub const WINDOW_GATHER: &str = "window_gather";
    /// i64 `[patches]`: the place of each patch.
    pub const WINDOW_SCATTER: &str = "window_scatter";
    /// f32 `[windows, 1, 1, window_patches]`: 0, or a large negative number on empty places.
    pub const WINDOW_BIAS: &str = "window_bias";
    /// f32 `[frames·frame_tokens, out_hidden_size]`.
    pub const FEATURES: &str = "features";
}

/// Ports of the planner's language model.
pub mod planner_lm {
    /// f32 `[batch, tokens, hidden_size]`.
    pub const EMBEDS: &str = "embeds";
    /// f32 `[batch, tokens, head_dim / 2]`: cosines of the rotary angles.
    pub const ROPE_COS: &str = "rope_cos";
    /// f32 `[batch, tokens, head_dim / 2]`: sines of the rotary angles.
    pub const ROPE_SIN: &str = "rope_sin";
    /// `[layers, batch, kv_heads, past, head_dim]`; past may be 0.
    pub const PAST_KEYS: &str = "past_keys";
    /// `[layers, batch, kv_heads, past, head_dim]`; past may be 0.
    pub const PAST_VALUES: &str = "past_values";
    /// f32 `[batch, 1, tokens, past + tokens]`: 0, or a large negative number.
    pub const BIAS: &str = "bias";
    /// f32 `[batch, tokens, hidden_size]`: the residual stream before the last layer.
    pub const HIDDEN: &str = "hidden";
    /// `[layers, batch, kv_heads, tokens, head_dim]`: keys of these tokens.
    pub const KEYS: &str = "keys";
    /// `[layers, batch, kv_heads, tokens, head_dim]`: values of these tokens.
    pub const VALUES: &str = "values";
}

/// Ports of both connectors.
pub mod connector {
    /// f32 `[batch, rows, hidden_size]`, of `proj_gen` `[1, tokens, hidden_size]`.
    pub const HIDDEN: &str = "hidden";
    /// f32 `[batch, rows, out_dim_for_vit]`: conditions of the flow head.
    pub const COND: &str = "cond";
    /// f32 `[1, tokens, out_dim_for_gen]`: rows of the renderer's context.
    pub const ROWS: &str = "rows";
}

/// Ports of the flow head and of its modulation; `batch` are the branches of its guidance.
pub mod flow_head {
    /// Most steps of one run of the modulation: its output takes 0.4 MB for each step and row.
    pub const MAX_STEPS: usize = 8;
    /// Most rows of a run, for the same reason.
    pub const MAX_ROWS: usize = 32;

    /// f32 `[steps, 256]`: sinusoid of each step's t.
    pub const T_EMBED: &str = "t_embed";
    /// f32 `[batch, rows, z_channels]`.
    pub const COND: &str = "cond";
    /// `[steps, batch, rows, (3·depth + 2)·width]`: shift, scale, gate of every block, then shift
    /// and scale before the output. The head takes those of one step.
    pub const MODULATION: &str = "modulation";
    /// f32 `[rows, target_channels]`, which all branches share.
    pub const X: &str = "x";
    /// f32 `[batch, 1, 1]`: what each branch's velocity adds to x, the step's size included.
    pub const WEIGHTS: &str = "weights";
    /// f32 `[batch, rows, target_channels]`.
    pub const VELOCITY: &str = "velocity";
    /// f32 `[rows, target_channels]`: x after the step.
    pub const NEXT: &str = "next";
}

/// Ports of the text encoder.
pub mod text_encoder {
    /// f32 `[1, text_tokens, d_model]`: rows of the embedding table.
    pub const EMBEDS: &str = "embeds";
    /// i64 `[text_tokens, text_tokens]`: relative position bucket of (query, key).
    pub const BUCKETS: &str = "buckets";
    /// f32 `[1, text_tokens, d_model]`.
    pub const HIDDEN: &str = "hidden";
}

/// Ports of the experts and of their context graphs.
pub mod transformer {
    /// f32 `[1, tokens, 64]`: packed latents, targets first; inner order (ph, pw, c).
    pub const TOKENS: &str = "tokens";
    /// f32 `[1, freq_dim]`: sinusoid of the timestep.
    pub const T_EMBED: &str = "t_embed";
    /// f32 `[tokens, head_dim / 2]`: cosines of the rotary angles.
    pub const ROPE_COS: &str = "rope_cos";
    /// f32 `[tokens, head_dim / 2]`: sines of the rotary angles.
    pub const ROPE_SIN: &str = "rope_sin";
    /// f32 `[1, context, text_dim]`: text hidden states, zero rows included.
    pub const CONTEXT: &str = "context";
    /// `[layers, 1, heads, context, head_dim]`: cross-attention keys.
    pub const KEYS: &str = "keys";
    /// `[layers, 1, heads, context, head_dim]`: cross-attention values.
    pub const VALUES: &str = "values";
    /// f32 `[1, tokens, 64]`: velocity of every token.
    pub const VELOCITY: &str = "velocity";
}

/// Ports of the VAE. Causal caches are `cache.<conv>` going in and `next.<conv>` coming out.
pub mod vae {
    /// f32 `[1, 3, frames, height, width]` in −1..1.
    pub const FRAMES: &str = "frames";
    /// f32 `[1, z_dim, latent_frames, latent_height, latent_width]`, normalised (F.2).
    pub const LATENTS: &str = "latents";
    /// Prefix of a cache that goes in.
    pub const CACHE: &str = "cache.";
    /// Prefix of a cache that comes out.
    pub const NEXT: &str = "next.";
}
