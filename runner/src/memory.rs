//! Whether a request fits this machine's memory on the CPU, where attention scores are
//! materialised.

use std::fs;

use bernini_graphs::models::Configs;

use crate::request::{Plan, SourcePlan};

/// Bytes of an f32.
const F32: u64 = 4;

/// Why a request was refused before any weight was read.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "{tokens} tokens at {width}×{height} need about {:.1} GiB on the CPU, and {:.1} GiB are free; \
     ask for fewer or smaller frames, or build engines for a GPU",
    gib(*needed), gib(*available)
)]
pub struct MemoryError {
    /// Tokens of the longest sequence.
    pub tokens: u64,
    /// Width of the result.
    pub width: u32,
    /// Height of the result.
    pub height: u32,
    /// Estimate in bytes.
    pub needed: u64,
    /// Free memory in bytes.
    pub available: u64,
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

/// Refuses a plan whose largest stage does not fit `available` bytes.
pub fn check(plan: &Plan, configs: &Configs, available: u64) -> Result<(), MemoryError> {
    let tokens = tokens(plan);
    let needed = expert_bytes(tokens, configs).max(vae_bytes(plan, configs));
    if needed <= available {
        return Ok(());
    }
    let Plan { width, height, .. } = *plan;
    Err(MemoryError { tokens, width, height, needed, available })
}

/// Free memory in bytes; `None` where the system does not say.
pub fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Tokens of the sequence with every source.
fn tokens(plan: &Plan) -> u64 {
    let sources = plan.sources.iter().map(SourcePlan::grid);
    sources.chain([plan.grid()]).map(|grid| grid.tokens() as u64).sum()
}

/// One self attention: its scores before and after the softmax, and the residual stream's width
/// of q, k, v and the feed-forward layer.
fn expert_bytes(tokens: u64, configs: &Configs) -> u64 {
    let c = &configs.transformer;
    let scores = 2 * c.num_attention_heads as u64 * tokens * tokens;
    let wide = tokens * (8 * c.dim() + 2 * c.ffn_dim) as u64;
    (scores + wide) * F32
}

/// One chunk of four frames at full resolution: history, input, norm and output of a convolution.
fn vae_bytes(plan: &Plan, configs: &Configs) -> u64 {
    let pixels = u64::from(plan.width) * u64::from(plan.height);
    6 * 4 * pixels * configs.vae.base_dim as u64 * F32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Configs {
        let transformer: bernini_graphs::config::TransformerConfig = serde_json::from_str(
            r#"{"patch_size": [1, 2, 2], "num_attention_heads": 40, "attention_head_dim": 128,
                "in_channels": 16, "out_channels": 16, "text_dim": 4096, "freq_dim": 256,
                "ffn_dim": 13824, "num_layers": 40, "cross_attn_norm": true,
                "qk_norm": "rms_norm_across_heads", "eps": 1e-6}"#,
        )
        .unwrap();
        let text = r#"{"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
            "num_heads": 64, "vocab_size": 256384, "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
            "feed_forward_proj": "gated-gelu"}"#;
        let vae = r#"{"base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
            "attn_scales": [], "temperal_downsample": [false, true, true], "latents_mean": [],
            "latents_std": []}"#;
        Configs {
            planner: None,
            text_encoder: serde_json::from_str(text).unwrap(),
            transformer_2: transformer.clone(),
            transformer,
            vae: serde_json::from_str(vae).unwrap(),
        }
    }

    #[test]
    fn an_official_clip_is_refused_with_its_estimate() {
        let plan = Plan { sources: vec![], frames: 81, width: 832, height: 480, target: None };
        let error = check(&plan, &release(), 64 << 30).unwrap_err();
        assert_eq!(error.tokens, 32_760);
        assert!(error.needed > 300 << 30, "{error}");
        assert!(error.to_string().contains("64.0 GiB are free"), "{error}");
        let small = Plan { frames: 5, width: 64, height: 48, ..plan };
        assert_eq!(check(&small, &release(), 64 << 30), Ok(()));
    }
}
