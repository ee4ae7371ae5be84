//! Configs, the scheduler and tokenizer files of an export.

use std::path::Path;

use bernini_graphs::Component;
use bernini_graphs::manifest::PACKAGE_CONFIG;
use bernini_graphs::models::PlannerConfigs;
use serde::Serialize;

use super::ExportError;
use crate::checkpoint::{Checkpoint, MAX_TOKENIZER, Package, files};

/// Files that a T5 tokenizer may have; the first is always there.
const TOKENIZER: [&str; 5] = [
    "spiece.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Files that Qwen's tokenizer may have.
const QWEN: [&str; 4] = ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"];
/// The image processor's config.
const PROCESSOR: &str = "preprocessor_config.json";

/// All small files: path below the export, content.
pub fn collect(checkpoint: &Checkpoint) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
    let c = checkpoint.configs();
    let mut small = vec![
        (Component::TextEncoder.config_file(), json(&c.text_encoder)),
        (Component::Transformer.config_file(), json(&c.transformer)),
        (Component::Transformer2.config_file(), json(&c.transformer_2)),
        (Component::Vae.config_file(), json(&c.vae)),
        ("config/scheduler.json".into(), json(checkpoint.scheduler())),
    ];
    small.extend(copies(checkpoint.tokenizer(), &TOKENIZER, "config/tokenizer")?);
    if let (Some(planner), Some(package)) = (&c.planner, checkpoint.package()) {
        small.extend(planner_files(planner, package)?);
    }
    Ok(small)
}

/// What the planner needs in addition.
fn planner_files(
    planner: &PlannerConfigs,
    package: &Package,
) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
    let mut small = vec![
        (Component::PlannerLm.config_file(), json(&planner.lm)),
        (Component::Vision.config_file(), json(&planner.vision)),
        (Component::Connector.config_file(), json(&planner.connector)),
        (Component::FlowHead.config_file(), json(&planner.flow_head)),
        (PACKAGE_CONFIG.into(), json(&package.config)),
    ];
    small.extend(copies(&package.mllm, &QWEN, "config/qwen_tokenizer")?);
    small.extend(copies(&package.mllm, &[PROCESSOR], "config")?);
    Ok(small)
}

/// Those of `names` that `folder` has, to be put below `to`.
fn copies(folder: &Path, names: &[&str], to: &str) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
    let there = names.iter().map(|name| (folder.join(name), format!("{to}/{name}")));
    let there = there.filter(|(path, _)| path.exists());
    there.map(|(path, name)| Ok((name, files::read(&path, MAX_TOKENIZER)?))).collect()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("invariant: a config is JSON");
    text.push(b'\n');
    text
}
