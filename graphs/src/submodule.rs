//! What each submodule is called, and the names of its inputs and outputs (design §4).
//!
//! Exporter, builder and runner meet here: the model functions declare these names, the runner
//! feeds them.

use std::fmt;

/// One graph of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Submodule {
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
    pub const ALL: [Self; 9] = [
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
    /// Every component, in pipeline order.
    pub const ALL: [Self; 4] =
        [Self::TextEncoder, Self::Transformer, Self::Transformer2, Self::Vae];

    /// Folder in the diffusers layout, and name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::Transformer => "transformer",
            Self::Transformer2 => "transformer_2",
            Self::Vae => "vae",
        }
    }

    /// Tensors that no graph reads, by name without prefix, each with the reason.
    pub fn skipped(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::TextEncoder => &[
                ("shared.weight", "token embedding: a table read by row"),
                ("encoder.embed_tokens.weight", "duplicate of shared.weight"),
            ],
            _ => &[],
        }
    }
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
    /// f32 `[1, 1, 1, context]`: 0, or a large negative number on padding.
    pub const CONTEXT_BIAS: &str = "context_bias";
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
