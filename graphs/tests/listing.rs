//! Listings of small graphs: what is reviewed when a graph changes.
//!
//! `UPDATE_GOLDEN=1 cargo test -p bernini-graphs --test listing` accepts a change.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::collections::BTreeMap;
use std::path::Path;

use bernini_graphs::models::{Configs, build};
use bernini_graphs::{
    BuildError, Fp8AttentionScales, Fp8Policy, Fp8Scales, Precision, Submodule, Taps,
};
use serde_json::json;

/// One layer of everything; the experts' heads have `head_dim` channels.
fn configs(head_dim: usize) -> Configs {
    let transformer = json!({
        "patch_size": [1, 2, 2], "num_attention_heads": 2, "attention_head_dim": head_dim,
        "in_channels": 4, "out_channels": 4, "text_dim": 6, "freq_dim": 10, "ffn_dim": 12,
        "num_layers": 1, "cross_attn_norm": true, "qk_norm": "rms_norm_across_heads", "eps": 1e-6,
    });
    let text_encoder = json!({
        "d_model": 6, "d_kv": 3, "d_ff": 10, "num_layers": 1, "num_heads": 2, "vocab_size": 50,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20,
        "layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu",
    });
    let vae = json!({
        "base_dim": 2, "z_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1, "attn_scales": [],
        "temperal_downsample": [false, true, true],
        "latents_mean": [0.0, 0.1, 0.2, 0.3], "latents_std": [1.0, 2.0, 3.0, 4.0],
    });
    let parsed: bernini_graphs::config::TransformerConfig =
        serde_json::from_value(transformer).unwrap();
    Configs {
        planner: None,
        text_encoder: serde_json::from_value(text_encoder).unwrap(),
        transformer: parsed.clone(),
        transformer_2: parsed,
        vae: serde_json::from_value(vae).unwrap(),
    }
}

struct Blocks;

impl Fp8Policy for Blocks {
    fn scales(&self, path: &str) -> Option<Fp8Scales> {
        path.starts_with("blocks.").then_some(Fp8Scales { input: 0.02, weight: 0.001 })
    }
    fn attention(&self, _: &str) -> Option<Fp8AttentionScales> {
        None
    }
}

/// The same linear layers, and attention.
struct BlocksAndAttention;

impl Fp8Policy for BlocksAndAttention {
    fn scales(&self, path: &str) -> Option<Fp8Scales> {
        Blocks.scales(path)
    }
    fn attention(&self, _: &str) -> Option<Fp8AttentionScales> {
        let center_keys = false;
        Some(Fp8AttentionScales { q: 0.03, k: 0.04, v: 0.05, out: 0.02, center_keys })
    }
}

fn listing(submodule: Submodule, precision: Precision<'_>, head_dim: usize) -> String {
    let (nothing, configs) = (BTreeMap::new(), configs(head_dim));
    let asked = build(submodule, &configs, &nothing, precision, Taps::None).unwrap_err().errors;
    let shapes: BTreeMap<_, _> = asked
        .into_iter()
        .map(|error| match error {
            BuildError::MissingTensor { name, expected } => (name, expected),
            other => panic!("{other}"),
        })
        .collect();
    build(submodule, &configs, &shapes, precision, Taps::None).unwrap().listing()
}

#[test]
fn listings_are_the_ones_that_were_reviewed() {
    let cases = [
        ("text_encoder.f32", Submodule::TextEncoder, Precision::F32, 8),
        ("transformer.f32", Submodule::Transformer, Precision::F32, 8),
        ("transformer.fp8", Submodule::Transformer, Precision::Fp8(&Blocks), 8),
        (
            "transformer.fp8-attention",
            Submodule::Transformer,
            Precision::Fp8(&BlocksAndAttention),
            128,
        ),
        (
            "transformer.fp8-f32-attention",
            Submodule::Transformer,
            Precision::Fp8F32(&BlocksAndAttention),
            8,
        ),
        ("transformer_context.bf16", Submodule::TransformerContext, Precision::Bf16, 8),
        ("vae_decoder_next.f32", Submodule::VaeDecoderNext, Precision::F32, 8),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/listings");
    for (name, submodule, precision, head_dim) in cases {
        let (path, found) =
            (folder.join(format!("{name}.txt")), listing(submodule, precision, head_dim));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        let changed = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(found == expected, "{name} changed; first different line: {changed:?}");
    }
}
