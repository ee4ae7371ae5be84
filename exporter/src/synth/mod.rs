//! Synthetic checkpoints: random weights, and every file that a real one has.

mod blueprint;
mod distribution;
mod planner;
mod presets;
mod spiece;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bernini_graphs::manifest::Variant;
use bernini_graphs::models::Configs;
use bernini_graphs::{Component, Submodule};
use serde_json::{Value, json};

use crate::checkpoint::FULL_PREFIXES;
use crate::inspect::needed_shapes;

pub use blueprint::{Blueprint, SynthTensor, SynthWeights};
pub use presets::Preset;
pub use values::Values;

/// A checkpoint that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// The target holds something.
    #[error("{}: expected an absent or empty folder; name another one", path.display())]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}; check space and permissions", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

/// Writes a random checkpoint to `out`; returns the bytes of its weights.
///
/// One seed gives the renderer the same weights in both layouts.
pub fn write(preset: Preset, layout: Variant, seed: u64, out: &Path) -> Result<u64, SynthError> {
    let blueprint = match layout {
        Variant::Renderer => renderer(preset, seed),
        Variant::Full => full(preset, seed),
    };
    blueprint.write(out)
}

/// Renderer-only diffusers folders.
fn renderer(preset: Preset, seed: u64) -> Blueprint {
    let tensors = |component: Component| SynthWeights {
        folder: component.name().into(),
        stem: stem(component),
        shards: if component == Component::Vae { 1 } else { 3 },
        tensors: tensors(preset, component, seed, ""),
    };
    Blueprint {
        files: renderer_files(
            &preset.text_encoder(),
            [&preset.transformer(), &preset.transformer()],
            &preset.vae(),
            &presets::scheduler(),
            spiece::model(preset.pieces()),
        ),
        weights: Component::ALL.map(tensors).into(),
        dtype: preset.dtype(),
    }
}

/// The released package (spec A.2): everything but the VAE in shards under `bernini/`.
fn full(preset: Preset, seed: u64) -> Blueprint {
    let text_dim = preset.configs().text_encoder.d_model;
    let mut files = vec![
        file("config.json", &planner::package_config(text_dim)),
        file("transformer_config.json", &preset.transformer()),
        file("transformer_2_config.json", &preset.transformer()),
        file("t5_text_encoder/config.json", &preset.text_encoder()),
        file("vae/config.json", &preset.vae()),
        file("scheduler/scheduler_config.json", &presets::scheduler()),
    ];
    files.extend(tokenizer_files("t5_tokenizer", spiece::model(preset.pieces())));
    files.extend(planner::files());
    let mut trained = planner::tensors(text_dim, seed);
    for (component, prefix) in FULL_PREFIXES {
        trained.extend(tensors(preset, component, seed, prefix));
    }
    let vae = tensors(preset, Component::Vae, seed, "");
    let weights = |folder: &str, stem, shards, tensors| SynthWeights {
        folder: folder.into(),
        stem,
        shards,
        tensors,
    };
    Blueprint {
        files,
        weights: vec![
            weights("bernini", "model", 5, trained),
            weights("vae", stem(Component::Vae), 1, vae),
        ],
        dtype: preset.dtype(),
    }
}

/// The small files of a renderer-only checkpoint.
pub fn renderer_files(
    text_encoder: &Value,
    transformers: [&Value; 2],
    vae: &Value,
    scheduler: &Value,
    spiece: Vec<u8>,
) -> Vec<(String, Vec<u8>)> {
    let index = json!({
        "_class_name": "BerniniRendererPipeline",
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    });
    let mut files = vec![
        file("model_index.json", &index),
        file("text_encoder/config.json", text_encoder),
        file("transformer/config.json", transformers[0]),
        file("transformer_2/config.json", transformers[1]),
        file("vae/config.json", vae),
        file("scheduler/scheduler_config.json", scheduler),
    ];
    files.extend(tokenizer_files("tokenizer", spiece));
    files
}

fn file(path: &str, value: &Value) -> (String, Vec<u8>) {
    (path.into(), format!("{value:#}\n").into_bytes())
}

fn tokenizer_files(folder: &str, spiece: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let special = json!({"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"});
    let mut config = special.clone();
    config["model_max_length"] = json!(512);
    config["tokenizer_class"] = json!("T5Tokenizer");
    vec![
        (format!("{folder}/spiece.model"), spiece),
        file(&format!("{folder}/special_tokens_map.json"), &special),
        file(&format!("{folder}/tokenizer_config.json"), &config),
    ]
}

/// File stem of a component's weights in the diffusers layout.
fn stem(component: Component) -> &'static str {
    match component {
        Component::TextEncoder => "model",
        _ => "diffusion_pytorch_model",
    }
}

/// The tensors of one component with `prefix`, as its graphs ask for them.
fn tensors(preset: Preset, component: Component, seed: u64, prefix: &str) -> Vec<SynthTensor> {
    let configs = preset.configs();
    let mut shapes = shapes(&configs, component);
    if component == Component::TextEncoder {
        let c = &configs.text_encoder;
        for name in ["shared.weight", "encoder.embed_tokens.weight"] {
            shapes.insert(name.into(), vec![c.vocab_size, c.d_model]);
        }
    }
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let (mean, std) = distribution::of(preset, component, &name, &shape);
        let seeded = name.replace("encoder.embed_tokens.", "shared.");
        let seeded = format!("{component}.{seeded}#{seed}", component = component.name());
        let values = Values { name: seeded, mean, std };
        SynthTensor { name: format!("{prefix}{name}"), shape, values }
    };
    shapes.into_iter().map(tensor).collect()
}

/// Names and shapes that the graphs of `component` ask for.
fn shapes(configs: &Configs, component: Component) -> BTreeMap<String, Vec<usize>> {
    let submodules = Submodule::ALL.into_iter().filter(|s| s.component() == component);
    submodules.flat_map(|submodule| needed_shapes(submodule, configs)).collect()
}
