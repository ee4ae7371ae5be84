//! Synthetic checkpoints: random weights, and every file that a real one has.

mod blueprint;
mod distribution;
mod planner;
mod presets;
mod qwen;
mod spiece;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bernini_graphs::Component;
use bernini_graphs::manifest::Variant;
use serde_json::{Value, json};

use crate::checkpoint::{StoredType, prefix};
use crate::inspect::needed_shapes;
use crate::tables;

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
    /// The release's own sizes.
    #[error(
        "preset full: 180 GB of random weights serve nobody; add --header-only, or choose \
         components with --only"
    )]
    TooLarge,
    /// A component that the layout has no place for.
    #[error("{}: only the full layout has it; leave it out, or choose --layout full", component.name())]
    NotInLayout {
        /// The component.
        component: Component,
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

/// Which random weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// One seed gives one checkpoint.
    pub seed: u64,
    /// Whether the experts' attentions are hard for FP8, as those of trained models are: large scores,
    /// so that softmax has peaks, and a few channels far above the others. Otherwise every channel is
    /// alike.
    pub peaky: bool,
}

impl From<u64> for Weights {
    fn from(seed: u64) -> Self {
        Self { seed, peaky: false }
    }
}

/// Writes a random checkpoint to `out`; returns the bytes of its weights.
///
/// One seed gives the renderer the same weights in both layouts. [`Preset::Full`] is refused:
/// see [`write_components`] and [`write_names`].
pub fn write(
    preset: Preset,
    layout: Variant,
    weights: impl Into<Weights>,
    out: &Path,
) -> Result<u64, SynthError> {
    if preset == Preset::Full {
        return Err(SynthError::TooLarge);
    }
    Recipe { preset, components: &ALL, weights: weights.into() }.blueprint(layout).write(out)
}

/// As [`write()`], with the tensors of some components only, and every small file. Of
/// [`Preset::Full`] they are bf16.
pub fn write_components(
    preset: Preset,
    layout: Variant,
    components: &[Component],
    weights: impl Into<Weights>,
    out: &Path,
) -> Result<u64, SynthError> {
    let planner = components.iter().find(|component| component.is_planner());
    if let (Variant::Renderer, Some(&component)) = (layout, planner) {
        return Err(SynthError::NotInLayout { component });
    }
    let weights = weights.into();
    let mut blueprint = Recipe { preset, components, weights }.blueprint(layout);
    if preset == Preset::Full {
        blueprint.dtype = StoredType::Bf16;
    }
    blueprint.write(out)
}

/// Writes a checkpoint whose weights are holes: names, shapes and sizes are those of `preset`,
/// values read as 0, and the disk holds only headers. Returns the bytes that the weights claim.
pub fn write_names(preset: Preset, layout: Variant, out: &Path) -> Result<u64, SynthError> {
    Recipe { preset, components: &ALL, weights: 0.into() }.blueprint(layout).write_names(out)
}

/// Every component, in pipeline order.
const ALL: [Component; 9] = {
    let ([a, b, c, d, e], [f, g, h, i]) = (Component::PLANNER, Component::RENDERER);
    [a, b, c, d, e, f, g, h, i]
};

/// What decides the tensors of a checkpoint.
struct Recipe<'a> {
    preset: Preset,
    /// Those that have tensors.
    components: &'a [Component],
    weights: Weights,
}

impl Recipe<'_> {
    fn blueprint(&self, layout: Variant) -> Blueprint {
        match layout {
            Variant::Renderer => self.renderer(),
            Variant::Full => self.full(),
        }
    }

    /// Renderer-only diffusers folders.
    fn renderer(&self) -> Blueprint {
        let preset = self.preset;
        let tensors = |component: Component| SynthWeights {
            folder: component.name().into(),
            stem: stem(component),
            shards: if component == Component::Vae { 1 } else { 3 },
            tensors: self.tensors(component, ""),
        };
        Blueprint {
            files: renderer_files(
                &preset.text_encoder(),
                [&preset.transformer(), &preset.transformer()],
                &preset.vae(),
                &presets::scheduler(),
                spiece::model(preset.pieces()),
            ),
            weights: Component::RENDERER.map(tensors).into(),
            dtype: preset.dtype(),
        }
    }

    /// The released package (spec A.2): everything but the VAE in shards under `bernini/`.
    fn full(&self) -> Blueprint {
        let trained = ALL.into_iter().filter(|component| *component != Component::Vae);
        let trained = trained.flat_map(|component| self.tensors(component, prefix(component)));
        let weights = |folder: &str, stem, shards, tensors| SynthWeights {
            folder: folder.into(),
            stem,
            shards,
            tensors,
        };
        let vae = self.tensors(Component::Vae, "");
        let shards = if self.preset == Preset::Full { 38 } else { 5 };
        Blueprint {
            files: package_files(self.preset),
            weights: vec![
                weights("bernini", "model", shards, trained.collect()),
                weights("vae", stem(Component::Vae), 1, vae),
            ],
            dtype: self.preset.dtype(),
        }
    }

    /// The tensors of one component with `prefix`, as its graphs ask for them; none of one that
    /// was not chosen.
    fn tensors(&self, component: Component, prefix: &str) -> Vec<SynthTensor> {
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let peaky = self.weights.peaky.then(|| distribution::peaky(component, &name)).flatten();
            let (mean, std) =
                peaky.unwrap_or_else(|| distribution::of(self.preset, component, &name, &shape));
            let seeded = name.replace("encoder.embed_tokens.", "shared.");
            let seeded = format!("{}.{seeded}#{}", component.name(), self.weights.seed);
            let values = Values { name: seeded, mean, std, heavy_tail: peaky.is_some() };
            SynthTensor { name: format!("{prefix}{name}"), shape, values }
        };
        if !self.components.contains(&component) {
            return vec![];
        }
        shapes(self.preset, component).into_iter().map(tensor).collect()
    }
}

/// The small files of the released package (spec A.2).
fn package_files(preset: Preset) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        file("config.json", &preset.package()),
        file("transformer_config.json", &preset.transformer()),
        file("transformer_2_config.json", &preset.transformer()),
        file("t5_text_encoder/config.json", &preset.text_encoder()),
        file("vae/config.json", &preset.vae()),
        file("scheduler/scheduler_config.json", &presets::scheduler()),
        file("mllm/config.json", &preset.mllm()),
        file("mllm/preprocessor_config.json", &planner::preprocessor()),
    ];
    files.extend(qwen::files(preset.first_special()));
    files.extend(tokenizer_files("t5_tokenizer", spiece::model(preset.pieces())));
    files
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

/// Names and shapes of `component` in a checkpoint: what its graphs and tables ask for, and what
/// nobody reads.
fn shapes(preset: Preset, component: Component) -> BTreeMap<String, Vec<usize>> {
    let mut configs = preset.configs();
    let mut shapes: BTreeMap<_, _> = BTreeMap::new();
    for table in tables::all(&configs, preset.mask_tokens()) {
        let names = table.tensors.iter().filter(|_| table.component == component);
        shapes.extend(names.map(|name| (name.to_string(), table.stored.clone())));
    }
    if let (Component::PlannerLm, Some(planner)) = (component, &mut configs.planner) {
        let (rows, width) = (planner.lm.vocab_size, planner.lm.hidden_size);
        shapes.insert("lm_head.weight".into(), vec![rows, width]);
        shapes.insert("model.norm.weight".into(), vec![width]);
        // The graph of a model with one layer more asks for the last one too.
        planner.lm.num_hidden_layers += 1;
    }
    let submodules = configs.submodules().filter(|s| s.component() == component);
    shapes.extend(submodules.flat_map(|submodule| needed_shapes(submodule, &configs)));
    shapes
}
