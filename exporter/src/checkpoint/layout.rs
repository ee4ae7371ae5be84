//! The two layouts of a checkpoint (spec A.1, A.2, A.9): where things lie, what prefixes mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bernini_graphs::Component;
use bernini_graphs::manifest::Variant;

use super::configs::ConfigFiles;
use super::package::PackageFiles;
use super::shards::{Shard, Tensor, Weights};
use super::{CheckpointError, ComponentTensors, files};

/// Folders that a renderer-only checkpoint has.
const RENDERER_FOLDERS: [&str; 6] =
    ["transformer", "transformer_2", "text_encoder", "tokenizer", "vae", "scheduler"];
/// Prefixes of the components in the full package; the first that fits wins.
const PREFIXES: [(Component, &str); 7] = [
    (Component::Vision, "mllm.visual."),
    (Component::PlannerLm, "mllm."),
    (Component::Connector, "connector."),
    (Component::FlowHead, "vit_decoder."),
    (Component::TextEncoder, "t5_text_encoder."),
    (Component::Transformer, "diff_dec.transformer."),
    (Component::Transformer2, "diff_dec_low.transformer_2."),
];
/// The one tensor of [`Component::MaskTokens`], which has no prefix.
const MASK_TOKENS: &str = "mask_tokens";

/// What stands before the names of `component` in the full package.
pub fn prefix(component: Component) -> &'static str {
    PREFIXES.iter().find(|(c, _)| *c == component).map_or("", |(_, prefix)| prefix)
}

/// Where the parts of a checkpoint lie.
pub struct Places {
    pub(super) variant: Variant,
    pub(super) configs: ConfigFiles,
    pub(super) tokenizer: PathBuf,
    weights: Vec<(PathBuf, Option<Component>)>,
}

/// Every tensor, sorted by who reads it.
#[derive(Default)]
pub struct Sorted {
    pub(super) components: BTreeMap<Component, ComponentTensors>,
    pub(super) strangers: BTreeMap<String, Tensor>,
    pub(super) shards: Vec<Arc<Shard>>,
    pub(super) all: Vec<Tensor>,
    pub(super) warnings: Vec<String>,
}

/// Tells the layout of `root`. The paths that the released config.json holds are ignored, as the
/// folders have fixed names (A.2).
pub fn detect(root: &Path) -> Result<Places, CheckpointError> {
    let config = root.join("config.json");
    if config.exists() {
        let value: serde_json::Value = files::json(&config)?;
        let found = value.get("model_type").unwrap_or(&serde_json::Value::Null);
        if found != "bernini" {
            let found = found.to_string().chars().take(60).collect();
            return Err(CheckpointError::ModelType { file: config, found });
        }
        return Ok(full(root));
    }
    if RENDERER_FOLDERS.iter().all(|folder| root.join(folder).is_dir()) {
        return Ok(renderer(root));
    }
    let expected = RENDERER_FOLDERS.join("/, ") + "/";
    Err(CheckpointError::NotACheckpoint { path: root.into(), expected })
}

fn full(root: &Path) -> Places {
    let configs = ConfigFiles {
        text_encoder: root.join("t5_text_encoder/config.json"),
        transformer: root.join("transformer_config.json"),
        transformer_2: root.join("transformer_2_config.json"),
        vae: root.join("vae/config.json"),
        scheduler: root.join("scheduler/scheduler_config.json"),
        package: Some(PackageFiles { config: root.join("config.json"), mllm: root.join("mllm") }),
    };
    let weights = vec![(root.join("bernini"), None), (root.join("vae"), Some(Component::Vae))];
    Places { variant: Variant::Full, configs, tokenizer: root.join("t5_tokenizer"), weights }
}

fn renderer(root: &Path) -> Places {
    let config = |folder: &str| root.join(folder).join("config.json");
    let configs = ConfigFiles {
        text_encoder: config("text_encoder"),
        transformer: config("transformer"),
        transformer_2: config("transformer_2"),
        vae: config("vae"),
        scheduler: root.join("scheduler/scheduler_config.json"),
        package: None,
    };
    let weights = Component::RENDERER.map(|c| (root.join(c.name()), Some(c))).into();
    Places { variant: Variant::Renderer, configs, tokenizer: root.join("tokenizer"), weights }
}

/// Opens all weights and sorts them.
pub fn open(places: &Places) -> Result<Sorted, CheckpointError> {
    let mut sorted = Sorted::default();
    let full = places.variant == Variant::Full;
    let planner = Component::PLANNER.into_iter().filter(|_| full);
    for component in planner.chain(Component::RENDERER) {
        let prefix = if full { prefix(component) } else { "" };
        let tensors = BTreeMap::new();
        sorted.components.insert(component, ComponentTensors { prefix, tensors });
    }
    for (folder, component) in &places.weights {
        let weights = Weights::open(folder)?;
        sorted.shards.extend(weights.shards);
        sorted.warnings.extend(weights.warnings);
        for (name, tensor) in weights.tensors {
            sorted.all.push(tensor.clone());
            sorted.place(*component, name, tensor);
        }
    }
    Ok(sorted)
}

impl Sorted {
    fn place(&mut self, component: Option<Component>, name: String, tensor: Tensor) {
        let owner = match component {
            Some(component) => Some((component, name.as_str())),
            None if name == MASK_TOKENS => Some((Component::MaskTokens, MASK_TOKENS)),
            None => PREFIXES.iter().find_map(|(c, p)| Some((*c, name.strip_prefix(p)?))),
        };
        if let Some((component, short)) = owner {
            let tensors = &mut self.components.entry(component).or_default().tensors;
            tensors.insert(short.into(), tensor);
        } else {
            self.strangers.insert(name, tensor);
        }
    }
}
