//! Configurations of the planner: language model, vision tower, flow head and connector.

use serde::{Deserialize, Serialize};

use super::{ConfigError, Extra, check, size};

/// The language model of `mllm/config.json` (spec A.8); keys may be nested under `text_config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannerConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers of the checkpoint; the last one is never run.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads, each shared by a group of query heads.
    pub num_key_value_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Epsilon of every norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the frequencies are shared out among time, height and width.
    pub rope_scaling: RopeScaling,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `rope_scaling` of the language model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RopeScaling {
    /// Frequencies of each axis; they add up to half a head.
    pub mrope_section: [usize; 3],
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl PlannerConfig {
    /// Channels per head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Layers that run: all but the last.
    pub fn layers(&self) -> usize {
        self.num_hidden_layers - 1
    }

    /// Refuses values that the model cannot have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size("hidden_size", self.hidden_size, 1 << 16)?;
        let layers = self.num_hidden_layers;
        check("num_hidden_layers", (2..=1024).contains(&layers), "2 to 1024", layers)?;
        size("num_attention_heads", self.num_attention_heads, 1024)?;
        let (heads, groups) = (self.num_attention_heads, self.num_key_value_heads);
        let even = self.hidden_size.is_multiple_of(2 * heads);
        check("hidden_size", even, format!("a multiple of 2 × {heads} heads"), self.hidden_size)?;
        let shared = groups > 0 && heads.is_multiple_of(groups);
        check("num_key_value_heads", shared, format!("a divisor of {heads}"), groups)?;
        size("intermediate_size", self.intermediate_size, 1 << 20)?;
        size("vocab_size", self.vocab_size, 1 << 24)?;
        let eps = self.rms_norm_eps;
        check("rms_norm_eps", eps > 0.0 && eps < 0.1, "0 to 0.1", eps)?;
        let theta = self.rope_theta;
        check("rope_theta", theta.is_finite() && theta > 1.0, "a number above 1", theta)?;
        let sections = self.rope_scaling.mrope_section;
        let total = sections.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
        let expected = format!("three numbers that add up to {}", self.head_dim() / 2);
        check("mrope_section", total == Some(self.head_dim() / 2), expected, sections)
    }
}

/// `vision_config` of `mllm/config.json` (spec A.8).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Width of the features: that of the language model.
    pub out_hidden_size: usize,
    /// Pixels of a patch along each side.
    pub patch_size: usize,
    /// Frames of a patch.
    pub temporal_patch_size: usize,
    /// Patches that the merger joins along each side.
    pub spatial_merge_size: usize,
    /// Pixels of an attention window along each side.
    pub window_size: usize,
    /// Blocks that attend to a whole temporal slice.
    pub fullatt_block_indexes: Vec<usize>,
    /// Position steps of the language model per second of video.
    #[serde(default = "tokens_per_second")]
    pub tokens_per_second: usize,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

fn tokens_per_second() -> usize {
    2
}

impl VisionConfig {
    /// Channels per head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Colour channels; the released code knows RGB only.
    pub fn in_channels(&self) -> usize {
        3
    }

    /// Values of a patch.
    pub fn patch_dim(&self) -> usize {
        self.in_channels() * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Patches of a full window.
    pub fn window_patches(&self) -> usize {
        (self.window_size / self.patch_size).pow(2)
    }

    /// Refuses values that the model cannot have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size("vision_config.depth", self.depth, 1024)?;
        size("vision_config.num_heads", self.num_heads, 1024)?;
        size("vision_config.hidden_size", self.hidden_size, 1 << 16)?;
        let heads = self.num_heads;
        let even = self.hidden_size.is_multiple_of(4 * heads);
        let expected = format!("a multiple of 4 × {heads} heads");
        check("vision_config.hidden_size", even, expected, self.hidden_size)?;
        size("vision_config.intermediate_size", self.intermediate_size, 1 << 20)?;
        size("vision_config.out_hidden_size", self.out_hidden_size, 1 << 16)?;
        let (patch, merge) = (self.patch_size, self.spatial_merge_size);
        check("vision_config.patch_size", patch == 14, 14, patch)?;
        check("vision_config.spatial_merge_size", merge == 2, 2, merge)?;
        let frames = self.temporal_patch_size;
        check("vision_config.temporal_patch_size", frames == 2, 2, frames)?;
        let window = self.window_size;
        let fits = window.is_multiple_of(patch * merge) && (1..=1 << 12).contains(&window);
        check("vision_config.window_size", fits, format!("a multiple of {}", patch * merge), window)
    }
}

/// `clip_diff_cfg` of `config.json` (spec A.3): the flow-matching head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowHeadConfig {
    /// Width of the conditions.
    pub z_channels: usize,
    /// Width of the embeddings that are drawn.
    pub target_channels: usize,
    /// Width of the network.
    pub width: usize,
    /// Residual blocks.
    pub depth: usize,
    /// Shift of the noise levels towards the noisy end.
    pub shift: f32,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl FlowHeadConfig {
    /// Refuses values that the model cannot have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size("clip_diff_cfg.z_channels", self.z_channels, 1 << 16)?;
        size("clip_diff_cfg.target_channels", self.target_channels, 1 << 16)?;
        size("clip_diff_cfg.width", self.width, 1 << 16)?;
        size("clip_diff_cfg.depth", self.depth, 1024)?;
        let positive = self.shift.is_finite() && self.shift > 0.0;
        check("clip_diff_cfg.shift", positive, "a number above 0", self.shift)
    }
}

/// `connector_cfg` of `config.json` (spec A.3).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectorConfig {
    /// Width of the renderer's context.
    pub out_dim_for_gen: usize,
    /// Width of the flow head's conditions.
    pub out_dim_for_vit: usize,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ConnectorConfig {
    /// Refuses values that the model cannot have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size("connector_cfg.out_dim_for_gen", self.out_dim_for_gen, 1 << 16)?;
        size("connector_cfg.out_dim_for_vit", self.out_dim_for_vit, 1 << 16)
    }
}
