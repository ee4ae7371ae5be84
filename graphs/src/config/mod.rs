//! The checkpoint's JSON configurations. Fields are its keys; derived values are methods.

mod planner;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use planner::{ConnectorConfig, FlowHeadConfig, PlannerConfig, RopeScaling, VisionConfig};

/// Keys of a checkpoint's config that we do not know, by name.
pub type Extra = BTreeMap<String, serde_json::Value>;

/// A config value that no model can have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("config key {key}: expected {expected}, found {found}")]
pub struct ConfigError {
    /// Key of the JSON object.
    pub key: &'static str,
    /// What the key may hold.
    pub expected: String,
    /// What it holds.
    pub found: String,
}

/// Checks one key.
fn check(
    key: &'static str,
    ok: bool,
    expected: impl ToString,
    found: impl std::fmt::Debug,
) -> Result<(), ConfigError> {
    let error = || ConfigError { key, expected: expected.to_string(), found: format!("{found:?}") };
    if ok { Ok(()) } else { Err(error()) }
}

/// `1..=max`, for sizes that a graph multiplies.
fn size(key: &'static str, value: usize, max: usize) -> Result<(), ConfigError> {
    check(key, (1..=max).contains(&value), format!("1 to {max}"), value)
}

/// `transformer/config.json`: one diffusion expert (spec A.4).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransformerConfig {
    /// Patch in frames, height, width; always `[1, 2, 2]`.
    pub patch_size: [usize; 3],
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Channels per head.
    pub attention_head_dim: usize,
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Width of the text encoder's hidden states.
    pub text_dim: usize,
    /// Width of the sinusoidal time embedding.
    pub freq_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn_dim: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Whether the norm before cross attention has weights; always true.
    pub cross_attn_norm: bool,
    /// Normalisation of q and k; always `rms_norm_across_heads`.
    pub qk_norm: String,
    /// Epsilon of every norm.
    pub eps: f32,
    /// Length of diffusers' rotary table; positions are computed on the host here.
    #[serde(default)]
    pub rope_max_seq_len: Option<usize>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl TransformerConfig {
    /// Width of the hidden states.
    pub fn dim(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Channels of one packed token: `ph × pw × c`.
    pub fn token_dim(&self) -> usize {
        self.patch_size.iter().product::<usize>() * self.in_channels
    }

    /// Refuses values that the model cannot have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check("patch_size", self.patch_size == [1, 2, 2], "[1, 2, 2]", self.patch_size)?;
        size("num_attention_heads", self.num_attention_heads, 1024)?;
        size("attention_head_dim", self.attention_head_dim, 1024)?;
        let head_dim = self.attention_head_dim;
        let enough = head_dim.is_multiple_of(2) && head_dim >= 6;
        check("attention_head_dim", enough, "an even number from 6 on", head_dim)?;
        size("in_channels", self.in_channels, 256)?;
        let equal = self.out_channels == self.in_channels;
        check(
            "out_channels",
            equal,
            format!("in_channels, {}", self.in_channels),
            self.out_channels,
        )?;
        size("text_dim", self.text_dim, 1 << 16)?;
        size("freq_dim", self.freq_dim, 1 << 12)?;
        check("freq_dim", self.freq_dim.is_multiple_of(2), "an even number", self.freq_dim)?;
        size("ffn_dim", self.ffn_dim, 1 << 20)?;
        size("num_layers", self.num_layers, 1024)?;
        check("cross_attn_norm", self.cross_attn_norm, true, self.cross_attn_norm)?;
        let known = self.qk_norm == "rms_norm_across_heads";
        check("qk_norm", known, "rms_norm_across_heads", &self.qk_norm)?;
        check("eps", self.eps > 0.0 && self.eps < 0.1, "0 to 0.1", self.eps)
    }
}

/// `text_encoder/config.json`: UMT5 (spec A.6).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextEncoderConfig {
    /// Width of the hidden states.
    pub d_model: usize,
    /// Channels per head.
    pub d_kv: usize,
    /// Width of the gated feed-forward layer.
    pub d_ff: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Relative position buckets.
    pub relative_attention_num_buckets: usize,
    /// Distance from which all positions share a bucket.
    pub relative_attention_max_distance: usize,
    /// Epsilon of every norm.
    pub layer_norm_epsilon: f32,
    /// Kind of feed-forward layer; always `gated-gelu`.
    pub feed_forward_proj: String,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl TextEncoderConfig {
    /// Width of q, k and v.
    pub fn inner_dim(&self) -> usize {
        self.num_heads * self.d_kv
    }

    /// Refuses values that the model cannot have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size("d_model", self.d_model, 1 << 16)?;
        size("d_kv", self.d_kv, 1024)?;
        size("d_ff", self.d_ff, 1 << 20)?;
        size("num_layers", self.num_layers, 1024)?;
        size("num_heads", self.num_heads, 1024)?;
        size("vocab_size", self.vocab_size, 1 << 24)?;
        let buckets = self.relative_attention_num_buckets;
        let fits = buckets.is_multiple_of(4) && (4..=1024).contains(&buckets);
        check("relative_attention_num_buckets", fits, "a multiple of 4 up to 1024", buckets)?;
        let distance = self.relative_attention_max_distance;
        let far = distance > buckets / 4 && distance <= 1 << 20;
        let expected = format!("{} to 1048576", buckets / 4 + 1);
        check("relative_attention_max_distance", far, expected, distance)?;
        let known = self.feed_forward_proj == "gated-gelu";
        check("feed_forward_proj", known, "gated-gelu", &self.feed_forward_proj)?;
        let eps = self.layer_norm_epsilon;
        check("layer_norm_epsilon", eps > 0.0 && eps < 0.1, "0 to 0.1", eps)
    }
}

/// `vae/config.json`: the Wan 2.1 VAE (spec A.5).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VaeConfig {
    /// Channels at full resolution.
    pub base_dim: usize,
    /// Latent channels.
    pub z_dim: usize,
    /// Channel factor of each level.
    pub dim_mult: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Scales with attention; always empty.
    pub attn_scales: Vec<f32>,
    /// Which steps between levels also halve the frames, encoder order.
    pub temperal_downsample: Vec<bool>,
    /// Mean of each latent channel (spec F.2).
    pub latents_mean: Vec<f32>,
    /// Standard deviation of each latent channel (spec F.2).
    pub latents_std: Vec<f32>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl VaeConfig {
    /// Channels of each level, from full resolution down.
    pub fn dims(&self) -> Vec<usize> {
        self.dim_mult.iter().map(|factor| factor * self.base_dim).collect()
    }

    /// Pixels per latent, along height and width.
    pub fn spatial_factor(&self) -> usize {
        1 << (self.dim_mult.len() - 1)
    }

    /// Frames per latent frame after the first.
    pub fn temporal_factor(&self) -> usize {
        1 << self.temperal_downsample.iter().filter(|&&down| down).count()
    }

    /// Refuses values that the model cannot have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size("base_dim", self.base_dim, 4096)?;
        size("z_dim", self.z_dim, 256)?;
        size("num_res_blocks", self.num_res_blocks, 16)?;
        let levels = &self.dim_mult;
        let sane = levels.len() == 4 && levels.iter().all(|m| (1..=64).contains(m));
        check("dim_mult", sane, "four factors from 1 to 64", levels)?;
        check("attn_scales", self.attn_scales.is_empty(), "[]", &self.attn_scales)?;
        let steps = &self.temperal_downsample;
        check("temperal_downsample", steps.len() == 3, "three flags", steps)?;
        let steps = steps.iter().filter(|&&down| down).count();
        check("temperal_downsample", steps == 2, "two of three set", steps)?;
        for (key, values) in
            [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)]
        {
            let finite = values.len() == self.z_dim && values.iter().all(|v| v.is_finite());
            check(key, finite, format!("{} finite numbers", self.z_dim), values)?;
        }
        let positive = self.latents_std.iter().all(|&v| v > 0.0);
        check("latents_std", positive, "positive numbers", &self.latents_std)
    }
}
