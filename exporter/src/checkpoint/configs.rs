//! The configs of a checkpoint: parsed, checked, with a warning for every key that is not known.

use std::path::{Path, PathBuf};

use bernini_graphs::config::{ConfigError, Extra, TextEncoderConfig, TransformerConfig, VaeConfig};
use bernini_graphs::models::Configs;
use serde_json::Value;

use super::package::{self, Package, PackageFiles};
use super::{CheckpointError, files};

/// Keys that diffusers and transformers write and that change nothing here.
const IGNORED: [&str; 45] = [
    "_class_name",
    "_diffusers_version",
    "_name_or_path",
    "added_kv_proj_dim",
    "architectures",
    "bos_token_id",
    "classifier_dropout",
    "clip_output",
    "decoder_base_dim",
    "decoder_start_token_id",
    "dense_act_fn",
    "dropout",
    "dropout_rate",
    "dtype",
    "eos_token_id",
    "image_dim",
    "in_channels",
    "initializer_factor",
    "is_decoder",
    "is_encoder_decoder",
    "is_gated_act",
    "is_residual",
    "max_position_embeddings",
    "model_max_length",
    "model_type",
    "num_decoder_layers",
    "out_channels",
    "output_past",
    "pad_token_id",
    "patch_size",
    "pos_embed_seq_len",
    "scalable_attention",
    "scale_factor_spatial",
    "scale_factor_temporal",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "use_src_id_rotary_emb",
    "video_only",
    "max_sequence_length",
    "non_linearity",
    "shift_factor",
    "scaling_factor",
];
/// Keys whose values, where set, mean another model.
const UNSET: [&str; 5] =
    ["image_dim", "added_kv_proj_dim", "is_residual", "patch_size", "use_sliding_window"];

/// Where the configs of one layout lie.
pub struct ConfigFiles {
    /// UMT5.
    pub text_encoder: PathBuf,
    /// High-noise expert.
    pub transformer: PathBuf,
    /// Low-noise expert.
    pub transformer_2: PathBuf,
    /// VAE.
    pub vae: PathBuf,
    /// Noise scheduler.
    pub scheduler: PathBuf,
    /// What only the full package has.
    pub package: Option<PackageFiles>,
}

/// The checked content of [`ConfigFiles`].
pub struct Read {
    /// What the graphs are built from.
    pub configs: Configs,
    /// The scheduler's config, an object.
    pub scheduler: Value,
    /// What only the full package has.
    pub package: Option<Package>,
}

impl ConfigFiles {
    /// Every file whose content decides what is exported; some tokenizer files may be absent.
    pub fn paths(&self) -> Vec<PathBuf> {
        let all = [&self.text_encoder, &self.transformer, &self.transformer_2, &self.vae];
        let mut paths: Vec<_> = all.into_iter().chain([&self.scheduler]).cloned().collect();
        if let Some(package) = &self.package {
            paths.push(package.config.clone());
            let names = ["config.json", "tokenizer.json", "vocab.json", "merges.txt"];
            paths.extend(names.map(|name| package.mllm.join(name)));
        }
        paths
    }
}

/// Reads and checks all configs; unknown keys are appended to `warnings`.
pub fn read(paths: &ConfigFiles, warnings: &mut Vec<String>) -> Result<Read, CheckpointError> {
    let text_encoder: TextEncoderConfig = files::json(&paths.text_encoder)?;
    let transformer: TransformerConfig = files::json(&paths.transformer)?;
    let transformer_2: TransformerConfig = files::json(&paths.transformer_2)?;
    let vae: VaeConfig = files::json(&paths.vae)?;
    let checked = [
        (&paths.text_encoder, text_encoder.validate(), &text_encoder.extra),
        (&paths.transformer, transformer.validate(), &transformer.extra),
        (&paths.transformer_2, transformer_2.validate(), &transformer_2.extra),
        (&paths.vae, vae.validate(), &vae.extra),
    ];
    for (file, valid, extra) in checked {
        let config = |source| CheckpointError::Config { file: file.clone(), source };
        valid.and_then(|()| check_unset(extra)).map_err(config)?;
        warnings.extend(unknown_keys(file, extra, &[]));
    }
    let widths = (transformer_2.text_dim, text_encoder.d_model);
    for (file, text_dim) in
        [(&paths.transformer, transformer.text_dim), (&paths.transformer_2, widths.0)]
    {
        check_equal(file, "text_dim", "d_model of the text encoder", widths.1, text_dim)?;
    }
    for (file, channels) in [
        (&paths.transformer, transformer.in_channels),
        (&paths.transformer_2, transformer_2.in_channels),
    ] {
        check_equal(file, "in_channels", "z_dim of the VAE", vae.z_dim, channels)?;
    }
    let scheduler = scheduler(&paths.scheduler)?;
    let (mut planner, mut package) = (None, None);
    if let Some(files) = &paths.package {
        let (configs, rest) = package::read(files, warnings)?;
        let (text_dim, width) = (transformer.text_dim, configs.connector.out_dim_for_gen);
        let key = "connector_cfg.out_dim_for_gen";
        check_equal(&files.config, key, "text_dim of the experts", text_dim, width)?;
        (planner, package) = (Some(configs), Some(rest));
    }
    let configs = Configs { planner, text_encoder, transformer, transformer_2, vae };
    Ok(Read { configs, scheduler, package })
}

/// A warning for each key of `extra` that is neither in `known` nor ignored everywhere.
pub fn unknown_keys(file: &Path, extra: &Extra, known: &[&str]) -> Vec<String> {
    let unknown = extra.keys().map(String::as_str);
    let unknown = unknown.filter(|key| !IGNORED.contains(key) && !known.contains(key));
    unknown.map(|key| format!("{}: unknown key {key:?} is ignored", file.display())).collect()
}

/// Refuses values that would need a model which is not this one.
pub fn check_unset(extra: &Extra) -> Result<(), ConfigError> {
    for key in UNSET {
        let value = extra.get(key).filter(|v| !v.is_null() && **v != Value::Bool(false));
        if let Some(value) = value {
            let (expected, found) = ("null or false".to_string(), value.to_string());
            return Err(ConfigError { key, expected, found });
        }
    }
    Ok(())
}

/// Refuses a width that differs from the one it meets, `what`.
pub fn check_equal(
    file: &Path,
    key: &'static str,
    what: &str,
    expected: usize,
    found: usize,
) -> Result<(), CheckpointError> {
    if expected == found {
        return Ok(());
    }
    let expected = format!("{expected}, the {what}");
    let source = ConfigError { key, expected, found: found.to_string() };
    Err(CheckpointError::Config { file: file.into(), source })
}

/// The scheduler's config: an object whose numbers are sane (spec A.7).
fn scheduler(file: &Path) -> Result<Value, CheckpointError> {
    let value: Value = files::json(file)?;
    let config = |source| CheckpointError::Config { file: file.into(), source };
    if !value.is_object() {
        let (expected, found) = ("an object".to_string(), kind(&value).to_string());
        return Err(config(ConfigError { key: "scheduler", expected, found }));
    }
    let number = |key: &'static str, range: std::ops::RangeInclusive<f64>| match value.get(key) {
        Some(x) if !x.as_f64().is_some_and(|x| range.contains(&x)) => {
            let expected = format!("{} to {}", range.start(), range.end());
            Err(config(ConfigError { key, expected, found: kind(x).to_string() }))
        }
        _ => Ok(()),
    };
    number("num_train_timesteps", 1.0..=1e6)?;
    number("flow_shift", 1e-3..=1e3)?;
    number("solver_order", 1.0..=3.0)?;
    Ok(value)
}

/// A short form of a JSON value for messages.
fn kind(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(60).collect()
}
