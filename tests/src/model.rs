//! Checkpoints with the weights of goldens, exported and ready to run on ONNX Runtime.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bernini_exporter::checkpoint::{StoredType, prefix};
use bernini_exporter::synth::{self, Blueprint, SynthTensor, SynthWeights, Values};
use bernini_exporter::{ExportOptions, export};
use bernini_graphs::manifest::PrecisionName;
use bernini_graphs::models::{Configs, PlannerConfigs, build};
use bernini_graphs::submodule::vae::{CACHE, NEXT};
use bernini_graphs::{BuildError, Component, Precision, Submodule, Taps};
use bernini_runner::Tensor;
use bernini_runner::backend::{Backend, OnnxRuntime};
use bernini_runner::export::Export;
use ndarray::{ArrayD, Axis, Slice, concatenate};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Golden;

const PARTS: [Component; 4] = Component::RENDERER;

/// An exported model; its folder lives as long as it does.
pub struct Model {
    /// The opened export.
    pub export: Export,
    folder: TempDir,
}

impl Model {
    /// The composed renderer of `renderer.json`.
    pub fn renderer() -> Self {
        let golden = Golden::load("renderer");
        let configs = PARTS.map(|part| golden.json["configs"][part.name()].clone());
        let weights = PARTS.map(|part| weights(part, &golden, &format!("{}.", part.name())));
        Self::build(&configs, weights.into(), &golden.json["configs"]["scheduler"])
    }

    /// A model with one component of a golden; the others fit it and have weights of no account.
    pub fn of(case: &str, component: Component) -> Self {
        let golden = Golden::load(case);
        let mut configs = Golden::load("renderer").json["configs"].clone();
        let config = &golden.json["config"];
        configs[component.name()] = config.clone();
        let (width, channels) = match component {
            Component::TextEncoder => (&config["d_model"], &json!(16)),
            Component::Vae => (&json!(20), &config["z_dim"]),
            _ => (&config["text_dim"], &json!(16)),
        };
        configs["text_encoder"]["d_model"] = width.clone();
        for expert in ["transformer", "transformer_2"] {
            configs[expert]["text_dim"] = width.clone();
            configs[expert]["in_channels"] = channels.clone();
            configs[expert]["out_channels"] = channels.clone();
        }
        let configs = PARTS.map(|part| configs[part.name()].clone());
        let filled = fill(&configs);
        let weights = filled.into_iter().zip(PARTS).map(|(tensors, part)| {
            if part == component { weights(part, &golden, "") } else { in_folder(part, tensors) }
        });
        Self::build(&configs, weights.collect(), &json!({}))
    }

    fn build(configs: &[Value; 4], weights: Vec<SynthWeights>, scheduler: &Value) -> Self {
        let spiece = fs::read(Golden::folder().join("tokenizer/spiece.model")).expect("committed");
        let [text, high, low, vae] = configs;
        let files = synth::renderer_files(text, [high, low], vae, scheduler, spiece);
        Self::export(&Blueprint { files, weights, dtype: StoredType::F32 })
    }

    /// Writes a checkpoint and exports it in f32.
    pub(crate) fn export(blueprint: &Blueprint) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (source, out) = (folder.path().join("checkpoint"), folder.path().join("export"));
        blueprint.write(&source).expect("the checkpoint is written");
        let options = ExportOptions::new(&source, &out, PrecisionName::F32);
        export(&options, &(), &AtomicBool::new(false)).unwrap_or_else(|error| panic!("{error}"));
        Self { export: Export::open(&out).expect("it opens"), folder }
    }

    /// The export folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("export")
    }

    /// A path for what a test writes.
    pub fn scratch(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// ONNX Runtime on this export.
    pub fn backend(&self) -> OnnxRuntime {
        OnnxRuntime::new(self.export.clone()).expect("./x setup has fetched ONNX Runtime")
    }
}

fn weights(part: Component, golden: &Golden, prefix: &str) -> SynthWeights {
    in_folder(part, golden.tensors(prefix))
}

fn in_folder(part: Component, tensors: Vec<SynthTensor>) -> SynthWeights {
    let stem = if part == Component::TextEncoder { "model" } else { "diffusion_pytorch_model" };
    SynthWeights { folder: part.name().into(), stem, shards: 1, tensors }
}

fn parse<T: serde::de::DeserializeOwned>(config: &Value) -> T {
    serde_json::from_value(config.clone()).expect("a config")
}

/// Every tensor that the graphs of `configs` ask for, by component.
fn fill(configs: &[Value; 4]) -> [Vec<SynthTensor>; 4] {
    let configs = Configs {
        planner: None,
        text_encoder: parse(&configs[0]),
        transformer: parse(&configs[1]),
        transformer_2: parse(&configs[2]),
        vae: parse(&configs[3]),
    };
    PARTS.map(|part| {
        let mut shapes = asked(&configs, part);
        if part == Component::TextEncoder {
            let table = vec![configs.text_encoder.vocab_size, configs.text_encoder.d_model];
            shapes.insert("shared.weight".to_string(), table);
        }
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let values = Values { name: name.clone(), mean: 0.0, std: 0.1, heavy_tail: false };
            SynthTensor { name, shape, values }
        });
        tensors.collect()
    })
}

/// Names, without prefix, and shapes of a component's tensors.
fn asked(configs: &Configs, part: Component) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    for submodule in configs.submodules().filter(|s| s.component() == part) {
        let nothing = BTreeMap::new();
        let asked = build(submodule, configs, &nothing, Precision::F32, Taps::None);
        for error in asked.expect_err("nothing is there").errors {
            if let BuildError::MissingTensor { name, expected } = error {
                shapes.insert(name, expected);
            }
        }
    }
    shapes
}

/// Names, with prefix, and shapes of the tensors that the graphs of a full checkpoint ask of
/// `bernini/`, by its configs by path.
pub(crate) fn asked_of_full(configs: &Value) -> Vec<(String, Vec<usize>)> {
    let lm = &configs["mllm/config.json"];
    let planner = PlannerConfigs {
        vision: parse(&lm["vision_config"]),
        lm: parse(lm),
        connector: parse(&configs["config.json"]["connector_cfg"]),
        flow_head: parse(&configs["config.json"]["clip_diff_cfg"]),
    };
    let configs = Configs {
        planner: Some(planner),
        text_encoder: parse(&configs["t5_text_encoder/config.json"]),
        transformer: parse(&configs["transformer_config.json"]),
        transformer_2: parse(&configs["transformer_2_config.json"]),
        vae: parse(&configs["vae/config.json"]),
    };
    let parts = Component::PLANNER.into_iter().chain(PARTS).filter(|part| *part != Component::Vae);
    let named = parts.flat_map(|part| {
        let shapes = asked(&configs, part);
        shapes.into_iter().map(move |(name, shape)| (format!("{}{name}", prefix(part)), shape))
    });
    named.collect()
}

/// Runs one half of the VAE over `input` `[1, c, t, h, w]` in chunks along `t`: the first of one
/// frame, then `sizes`, handing the caches over.
///
/// # Panics
/// When a graph fails.
pub fn run_chunks(
    backend: &dyn Backend,
    [first, next]: [Submodule; 2],
    [from, to]: [&str; 2],
    input: &ArrayD<f32>,
    sizes: &[usize],
) -> ArrayD<f32> {
    let mut start = 0;
    let mut caches = BTreeMap::new();
    let mut parts = vec![];
    let mut sessions = [first, next].map(|half| backend.load(half).expect("it loads"));
    for (i, &size) in [1].iter().chain(sizes).enumerate() {
        let chunk = input.slice_axis(Axis(2), Slice::from(start..start + size)).to_owned();
        let chunk = Tensor::from(chunk);
        let mut feed: Vec<(String, &Tensor)> = vec![(from.into(), &chunk)];
        feed.extend(caches.iter().map(|(name, cache)| (format!("{CACHE}{name}"), cache)));
        let feed: Vec<_> = feed.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
        let mut outputs = sessions[i.min(1)].run(&feed).expect("it runs");
        caches = outputs.take_prefixed(NEXT);
        parts.push(outputs.take_f32::<ndarray::IxDyn>(to).expect("the output"));
        start += size;
    }
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let joined = concatenate(Axis(2), &views).expect("chunks of one size");
    joined.as_standard_layout().into_owned()
}
