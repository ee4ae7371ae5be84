//! The names of every submodule's inputs and outputs, with their types and shapes (design §4).

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
