//! Configs, the scheduler and tokenizer files of an export.

use bernini_graphs::Component;
use serde::Serialize;

use super::ExportError;
use crate::checkpoint::{Checkpoint, MAX_TOKENIZER, files};

/// Files that a T5 tokenizer may have; the first is always there.
const TOKENIZER: [&str; 5] = [
    "spiece.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Path of a component's config below the export.
pub fn config_name(component: Component) -> String {
    format!("config/{}.json", component.name())
}

/// All small files: path below the export, content.
pub fn collect(checkpoint: &Checkpoint) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
    let c = checkpoint.configs();
    let mut small = vec![
        (config_name(Component::TextEncoder), json(&c.text_encoder)),
        (config_name(Component::Transformer), json(&c.transformer)),
        (config_name(Component::Transformer2), json(&c.transformer_2)),
        (config_name(Component::Vae), json(&c.vae)),
        ("config/scheduler.json".into(), json(checkpoint.scheduler())),
    ];
    for name in TOKENIZER {
        let path = checkpoint.tokenizer().join(name);
        if path.exists() {
            let bytes = files::read(&path, MAX_TOKENIZER)?;
            small.push((format!("config/tokenizer/{name}"), bytes));
        }
    }
    Ok(small)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("invariant: a config is JSON");
    text.push(b'\n');
    text
}
