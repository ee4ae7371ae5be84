//! Sizes and configs of the synthetic checkpoints.

use bernini_graphs::Component;
use bernini_graphs::models::{Configs, PlannerConfigs};
use serde_json::{Value, json};

use crate::checkpoint::StoredType;

/// Mean of each latent channel (spec F.2).
const LATENTS_MEAN: [f64; 16] = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
    -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
];
/// Standard deviation of each latent channel (spec F.2).
const LATENTS_STD: [f64; 16] = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
    1.6382, 1.1253, 2.8251, 1.9160,
];

/// Size of a synthetic checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Awkward small sizes for a CPU, f32.
    Tiny,
    /// Real widths, two layers of each stack, a vocabulary of 8,000, bf16.
    Slim,
    /// The release's depth at an eighth of its width, of what renders but the VAE; else as tiny. Its
    /// rounding errors add up as in the release, and a CPU runs it.
    Deep,
    /// Every size of the release, f32.
    Full,
}

impl Preset {
    /// Element type of the weights.
    pub(super) fn dtype(self) -> StoredType {
        match self {
            Self::Tiny | Self::Full => StoredType::F32,
            Self::Slim | Self::Deep => StoredType::Bf16,
        }
    }

    /// Layers that write to one residual stream. Whatever tiny has, its weights are goldens'.
    pub(super) fn layers(self, component: Component) -> usize {
        match (self, component) {
            (Self::Full, Component::PlannerLm) => 28,
            (Self::Full, Component::Vision) => 32,
            (Self::Full, Component::FlowHead) => 16,
            (Self::Deep | Self::Full, Component::TextEncoder) => 24,
            (Self::Deep | Self::Full, Component::Transformer | Component::Transformer2) => 40,
            _ => 2,
        }
    }

    /// Pieces of the tokenizer; the embedding table is a little larger, as in real ones.
    pub(super) fn pieces(self) -> usize {
        match self {
            Self::Tiny | Self::Deep => 461,
            Self::Slim | Self::Full => 7991,
        }
    }

    /// `transformer/config.json`, and `transformer_2/config.json` alike (spec A.4).
    pub(super) fn transformer(self) -> Value {
        let (heads, head_dim, ffn_dim, text_dim) = match self {
            Self::Tiny => (3, 20, 88, 28),
            Self::Deep => (5, 128, 1728, 512),
            Self::Slim | Self::Full => (40, 128, 13824, 4096),
        };
        json!({
            "_class_name": "WanTransformer3DModel",
            "_diffusers_version": "0.35.2",
            "added_kv_proj_dim": null,
            "attention_head_dim": head_dim,
            "cross_attn_norm": true,
            "eps": 1e-6,
            "ffn_dim": ffn_dim,
            "freq_dim": 256,
            "image_dim": null,
            "in_channels": 16,
            "num_attention_heads": heads,
            "num_layers": self.layers(Component::Transformer),
            "out_channels": 16,
            "patch_size": [1, 2, 2],
            "pos_embed_seq_len": null,
            "qk_norm": "rms_norm_across_heads",
            "rope_max_seq_len": 1024,
            "text_dim": text_dim,
        })
    }

    /// `text_encoder/config.json` (spec A.6).
    pub(super) fn text_encoder(self) -> Value {
        let (d_model, d_kv, heads, d_ff, vocab_size) = match self {
            Self::Tiny => (28, 12, 3, 52, 467),
            Self::Slim => (4096, 64, 64, 10240, 8000),
            Self::Deep => (512, 64, 8, 1280, 467),
            Self::Full => (4096, 64, 64, 10240, 256_384),
        };
        json!({
            "architectures": ["UMT5EncoderModel"],
            "d_ff": d_ff,
            "d_kv": d_kv,
            "d_model": d_model,
            "decoder_start_token_id": 0,
            "dense_act_fn": "gelu_new",
            "dropout_rate": 0.1,
            "eos_token_id": 1,
            "feed_forward_proj": "gated-gelu",
            "is_encoder_decoder": true,
            "is_gated_act": true,
            "layer_norm_epsilon": 1e-6,
            "model_type": "umt5",
            "num_heads": heads,
            "num_layers": self.layers(Component::TextEncoder),
            "pad_token_id": 0,
            "relative_attention_max_distance": 128,
            "relative_attention_num_buckets": 32,
            "torch_dtype": if self.dtype() == StoredType::Bf16 { "bfloat16" } else { "float32" },
            "transformers_version": "4.57.3",
            "vocab_size": vocab_size,
        })
    }

    /// `vae/config.json` (spec A.5).
    pub(super) fn vae(self) -> Value {
        json!({
            "_class_name": "AutoencoderKLWan",
            "_diffusers_version": "0.35.2",
            "attn_scales": [],
            "base_dim": if matches!(self, Self::Tiny | Self::Deep) { 8 } else { 96 },
            "dim_mult": [1, 2, 4, 4],
            "dropout": 0.0,
            "latents_mean": LATENTS_MEAN,
            "latents_std": LATENTS_STD,
            "num_res_blocks": 2,
            "temperal_downsample": [false, true, true],
            "z_dim": 16,
        })
    }

    /// The configs as the graphs read them.
    pub(super) fn configs(self) -> Configs {
        let parse = "invariant: the presets are valid configs";
        let (package, mllm) = (self.package(), self.mllm());
        let planner = PlannerConfigs {
            vision: serde_json::from_value(mllm["vision_config"].clone()).expect(parse),
            lm: serde_json::from_value(mllm).expect(parse),
            connector: serde_json::from_value(package["connector_cfg"].clone()).expect(parse),
            flow_head: serde_json::from_value(package["clip_diff_cfg"].clone()).expect(parse),
        };
        Configs {
            planner: Some(planner),
            text_encoder: serde_json::from_value(self.text_encoder()).expect(parse),
            transformer: serde_json::from_value(self.transformer()).expect(parse),
            transformer_2: serde_json::from_value(self.transformer()).expect(parse),
            vae: serde_json::from_value(self.vae()).expect(parse),
        }
    }
}

/// `scheduler/scheduler_config.json` (spec A.7).
pub(super) fn scheduler() -> Value {
    json!({
        "_class_name": "UniPCMultistepScheduler",
        "_diffusers_version": "0.35.2",
        "disable_corrector": [],
        "final_sigmas_type": "zero",
        "flow_shift": 3.0,
        "lower_order_final": true,
        "num_train_timesteps": 1000,
        "predict_x0": true,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "solver_type": "bh2",
        "thresholding": false,
        "use_flow_sigmas": true,
    })
}

#[cfg(test)]
mod tests {
    use super::super::qwen;
    use super::*;

    #[test]
    fn presets_are_configs_that_a_checkpoint_may_have() {
        for preset in [Preset::Tiny, Preset::Slim, Preset::Deep, Preset::Full] {
            let c = preset.configs();
            c.text_encoder.validate().unwrap();
            c.transformer.validate().unwrap();
            c.vae.validate().unwrap();
            let planner = c.planner.unwrap();
            planner.vision.validate().unwrap();
            planner.lm.validate().unwrap();
            planner.connector.validate().unwrap();
            planner.flow_head.validate().unwrap();
            assert!(planner.lm.vocab_size >= preset.first_special() + qwen::SPECIAL.len());
            assert!(preset.first_special() >= qwen::pieces());
            assert_eq!(c.transformer.text_dim, c.text_encoder.d_model);
            assert!(c.text_encoder.vocab_size > preset.pieces());
            if preset == Preset::Full {
                let layers = |component| preset.layers(component);
                assert_eq!(layers(Component::Transformer2), c.transformer_2.num_layers);
                assert_eq!(layers(Component::TextEncoder), c.text_encoder.num_layers);
                assert_eq!(layers(Component::PlannerLm), planner.lm.num_hidden_layers);
                assert_eq!(layers(Component::Vision), planner.vision.depth);
                assert_eq!(layers(Component::FlowHead), planner.flow_head.depth);
            }
        }
    }
}
