//! Configs of the planner's components, and of the full package (spec A.3, A.8).

use serde_json::{Value, json};

use super::presets::Preset;
use super::qwen;
use crate::checkpoint::StoredType;

impl Preset {
    /// Id of the first special token of Qwen's tokenizer.
    pub(super) fn first_special(self) -> usize {
        match self {
            Self::Tiny | Self::Deep => qwen::pieces(),
            Self::Slim => self.planner_vocabulary() - qwen::SPECIAL.len(),
            Self::Full => 151_643,
        }
    }

    /// Rows of the token embedding: a few more than the tokenizer has, as in the release.
    fn planner_vocabulary(self) -> usize {
        match self {
            Self::Tiny | Self::Deep => qwen::pieces() + qwen::SPECIAL.len() + 7,
            Self::Slim => 8000,
            Self::Full => 152_064,
        }
    }

    /// Rows of the mask tokens.
    pub(super) fn mask_tokens(self) -> usize {
        if matches!(self, Self::Tiny | Self::Deep) { 5 } else { 4096 }
    }

    /// `config.json` of the package.
    pub(super) fn package(self) -> Value {
        let (hidden, width, depth) = match self {
            Self::Tiny | Self::Deep => (48, 60, 2),
            Self::Slim => (3584, 4096, 2),
            Self::Full => (3584, 4096, 16),
        };
        json!({
            "architectures": ["BerniniModel"],
            "bernini_ckpt_subfolder": "bernini",
            "clip_diff_cfg": {
                "depth": depth, "diff_net": "SimpleMLPAdaLN", "extra_one_step": true,
                "num_inference_steps": 100, "scheduler": "FlowMatchScheduler", "shift": 2.0,
                "target_channels": hidden, "width": width, "z_channels": hidden,
            },
            "connector_cfg": {
                "gen_head_type": "zerolinear", "out_dim_for_gen": self.transformer()["text_dim"],
                "out_dim_for_vit": hidden,
            },
            "cotrain": true,
            "feature_type_from_stage_one": "masked_tgt_embed_with_qwen_txt_vit_tokens",
            "flow_shift": 5,
            "interpolate_src_id": true,
            "max_sequence_length": 512,
            "max_trained_src_id": 5,
            "mllm_attn_implementation": "sdpa",
            "mllm_subfolder": "mllm",
            "model_type": "bernini",
            "num_mask_token": self.mask_tokens(),
            "processor_subfolder": "mllm",
            "scratch": true,
            "scratch_mllm": true,
            "shift": 3.0,
            "switch_dit_boundary": 0.875,
            "t5_combine_type": "concat_with_zero_init",
            "t5_max_sequence_length": 512,
            "t5_text_encoder_subfolder": "t5_text_encoder",
            "t5_tokenizer_subfolder": "t5_tokenizer",
            "target_fps": 16,
            "tie_word_embeddings": false,
            "use_src_id_rotary_emb": true,
            "use_unipc": false,
            "vae_subfolder": "vae",
        })
    }

    /// `mllm/config.json` in the flat form.
    pub(super) fn mllm(self) -> Value {
        let (hidden, heads, groups, feed_forward, sections) = match self {
            Self::Tiny | Self::Deep => (48, 6, 2, 68, [1, 1, 2]),
            Self::Slim | Self::Full => (3584, 28, 4, 18944, [16, 24, 24]),
        };
        let id = |token| qwen::special(self.first_special(), token);
        json!({
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "hidden_act": "silu",
            "hidden_size": hidden,
            "image_token_id": id("<|image_pad|>"),
            "intermediate_size": feed_forward,
            "max_position_embeddings": 128_000,
            "model_type": "qwen2_5_vl",
            "num_attention_heads": heads,
            // The last one is never run.
            "num_hidden_layers": if self == Self::Full { 28 } else { 3 },
            "num_key_value_heads": groups,
            "rms_norm_eps": 1e-6,
            "rope_scaling": {"mrope_section": sections, "type": "mrope"},
            "rope_theta": 1e6,
            "tie_word_embeddings": false,
            "torch_dtype": if self.dtype() == StoredType::Bf16 { "bfloat16" } else { "float32" },
            "use_sliding_window": false,
            "video_token_id": id("<|video_pad|>"),
            "vision_config": self.vision(),
            "vision_end_token_id": id("<|vision_end|>"),
            "vision_start_token_id": id("<|vision_start|>"),
            "vocab_size": self.planner_vocabulary(),
        })
    }

    fn vision(self) -> Value {
        let (depth, full) = match self {
            Self::Tiny | Self::Deep => (3, vec![1]),
            Self::Slim => (2, vec![1]),
            Self::Full => (32, vec![7, 15, 23, 31]),
        };
        let (hidden, heads, feed_forward, out) = match self {
            Self::Tiny | Self::Deep => (24, 2, 52, 48),
            Self::Slim | Self::Full => (1280, 16, 3420, 3584),
        };
        json!({
            "depth": depth, "fullatt_block_indexes": full, "hidden_act": "silu",
            "hidden_size": hidden, "in_chans": 3, "intermediate_size": feed_forward,
            "num_heads": heads, "out_hidden_size": out, "patch_size": 14,
            "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2,
            "tokens_per_second": 2, "window_size": 112,
        })
    }
}

/// `mllm/preprocessor_config.json`.
pub fn preprocessor() -> Value {
    json!({
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_processor_type": "Qwen2VLImageProcessor",
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "max_pixels": 12_845_056,
        "merge_size": 2,
        "min_pixels": 3136,
        "patch_size": 14,
        "processor_class": "Qwen2_5_VLProcessor",
        "temporal_patch_size": 2,
    })
}
