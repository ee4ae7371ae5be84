//! The configs that only the full package has: `config.json` and `mllm/` (spec A.3, A.8, K.13).

use std::path::{Path, PathBuf};

use bernini_graphs::config::{ConfigError, Extra, PlannerConfig, VisionConfig};
use bernini_graphs::models::PlannerConfigs;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::configs::{check_equal, check_unset, unknown_keys};
use super::{CheckpointError, files};

/// Keys of `config.json` that are known, whether read or not (A.3).
const PACKAGE: &[&str] = &[
    "additional_special_tokens",
    "base_dir",
    "bernini_ckpt_subfolder",
    "boundary_ratio",
    "clip_diff_cfg",
    "connector_cfg",
    "cotrain",
    "diff_dec_config_path",
    "ema_decay",
    "feature_type_from_stage_one",
    "flow_shift",
    "interpolate_src_id",
    "mask_ratio_infer_cfg",
    "max_trained_src_id",
    "mllm_attn_implementation",
    "mllm_config_path",
    "mllm_subfolder",
    "noise_tmax",
    "noise_tmin",
    "num_mask_token",
    "partial_pretrain_model",
    "processor_config_path",
    "processor_subfolder",
    "scheduler_config_path",
    "scratch",
    "scratch_mllm",
    "shift",
    "switch_dit_boundary",
    "t5_combine_type",
    "t5_max_sequence_length",
    "t5_text_encoder_path",
    "t5_text_encoder_subfolder",
    "t5_tokenizer_path",
    "t5_tokenizer_subfolder",
    "target_fps",
    "transformer_2_config_path",
    "transformer_config_path",
    "use_unipc",
    "vae_config_path",
    "vae_model_path",
    "vae_subfolder",
    "wovae_task_list",
];
/// Keys of `clip_diff_cfg` and `connector_cfg` that change nothing here.
const HEADS: &[&str] = &[
    "diff_net",
    "extra_one_step",
    "gen_head_type",
    "num_inference_steps",
    "num_layers_for_gen",
    "num_layers_for_vit",
    "scheduler",
];
/// Keys of `mllm/config.json` that change nothing in a graph.
const QWEN: &[&str] = &[
    "attention_dropout",
    "head_dim",
    "hidden_act",
    "image_token_id",
    "in_chans",
    "initializer_range",
    "layer_types",
    "max_window_layers",
    "rope_type",
    "sliding_window",
    "spatial_patch_size",
    "type",
    "use_sliding_window",
    "video_token_id",
    "vision_end_token_id",
    "vision_start_token_id",
    "vision_token_id",
];
/// Rows of the mask tokens where `config.json` does not say (A.3).
const MASK_TOKENS: u64 = 256;

/// Where the configs of the full package lie.
pub struct PackageFiles {
    /// `config.json`.
    pub config: PathBuf,
    /// Folder of the planner's config, tokenizer and processor.
    pub mllm: PathBuf,
}

/// What only the full package has, besides the planner's configs.
#[derive(Debug)]
pub struct Package {
    /// The whole `config.json`, an object.
    pub config: Extra,
    /// Rows of the tensor `mask_tokens`.
    pub mask_tokens: usize,
    /// Folder of Qwen's tokenizer and of the image processor's config.
    pub mllm: PathBuf,
}

/// Reads and checks them; unknown keys are appended to `warnings`.
pub fn read(
    paths: &PackageFiles,
    warnings: &mut Vec<String>,
) -> Result<(PlannerConfigs, Package), CheckpointError> {
    let config: Extra = files::json(&paths.config)?;
    let mllm_file = paths.mllm.join("config.json");
    let mut mllm: Extra = files::json(&mllm_file)?;
    let vision = section(&mllm_file, mllm.remove("vision_config"), "vision_config")?;
    if let Some(text) = mllm.remove("text_config") {
        mllm.extend(section::<Extra>(&mllm_file, Some(text), "text_config")?);
    }
    let mllm = Value::Object(mllm.into_iter().collect());
    let lm = section(&mllm_file, Some(mllm), "language model")?;
    let part = |key: &str| config.get(key).cloned();
    let flow_head = section(&paths.config, part("clip_diff_cfg"), "clip_diff_cfg")?;
    let connector = section(&paths.config, part("connector_cfg"), "connector_cfg")?;
    let planner = PlannerConfigs { vision, lm, connector, flow_head };
    check(&planner, &paths.config, &mllm_file)?;
    warn(&planner, &config, [&paths.config, &mllm_file], warnings);
    let mask_tokens = whole_config(&paths.config, &config)?;
    tokenizer(&paths.mllm)?;
    Ok((planner, Package { config, mask_tokens, mllm: paths.mllm.clone() }))
}

/// One object within `file`.
fn section<T: DeserializeOwned>(
    file: &Path,
    value: Option<Value>,
    key: &str,
) -> Result<T, CheckpointError> {
    let json = |reason| CheckpointError::Json { file: file.into(), reason };
    let value = value.ok_or_else(|| json(format!("missing field `{key}`")))?;
    serde_json::from_value(value).map_err(|error| json(format!("{key}: {error}")))
}

/// Each config alone, then their widths against each other.
fn check(planner: &PlannerConfigs, config: &Path, mllm: &Path) -> Result<(), CheckpointError> {
    let PlannerConfigs { vision, lm, connector, flow_head } = planner;
    let checked = [
        (mllm, lm.validate().and_then(|()| check_lm(lm))),
        (mllm, vision.validate().and_then(|()| check_vision(vision))),
        (config, connector.validate()),
        (config, flow_head.validate().and_then(|()| check_head(&flow_head.extra))),
    ];
    for (file, valid) in checked {
        valid.map_err(|source| CheckpointError::Config { file: file.into(), source })?;
    }
    let (width, text) = (lm.hidden_size, "hidden_size of the language model");
    check_equal(mllm, "vision_config.out_hidden_size", text, width, vision.out_hidden_size)?;
    check_equal(config, "clip_diff_cfg.target_channels", text, width, flow_head.target_channels)?;
    let (expected, found) = (flow_head.z_channels, connector.out_dim_for_vit);
    let what = "z_channels of clip_diff_cfg";
    check_equal(config, "connector_cfg.out_dim_for_vit", what, expected, found)
}

fn check_lm(lm: &PlannerConfig) -> Result<(), ConfigError> {
    check_unset(&lm.extra)?;
    fixed(&lm.extra, "hidden_act", &[json!("silu")])?;
    fixed(&lm.extra, "head_dim", &[json!(lm.head_dim())])?;
    let kinds = [json!("mrope"), json!("default")];
    fixed(&lm.rope_scaling.extra, "type", &kinds)?;
    fixed(&lm.rope_scaling.extra, "rope_type", &kinds)
}

fn check_vision(vision: &VisionConfig) -> Result<(), ConfigError> {
    fixed(&vision.extra, "hidden_act", &[json!("silu")])?;
    let channels = [json!(vision.in_channels())];
    fixed(&vision.extra, "in_chans", &channels)?;
    fixed(&vision.extra, "in_channels", &channels)
}

/// The head is the network of D.9, and `extra_one_step` is what its noise levels assume.
fn check_head(extra: &Extra) -> Result<(), ConfigError> {
    fixed(extra, "diff_net", &[json!("SimpleMLPAdaLN")])?;
    fixed(extra, "extra_one_step", &[json!(true)])
}

/// Refuses a value other than `known`, which would need a model that is not this one.
fn fixed(extra: &Extra, key: &'static str, known: &[Value]) -> Result<(), ConfigError> {
    match extra.get(key).filter(|value| !value.is_null() && !known.contains(value)) {
        None => Ok(()),
        Some(value) => {
            let expected: Vec<_> = known.iter().map(Value::to_string).collect();
            let found = value.to_string().chars().take(60).collect();
            Err(ConfigError { key, expected: expected.join(" or "), found })
        }
    }
}

fn warn(
    planner: &PlannerConfigs,
    package: &Extra,
    [config, mllm]: [&Path; 2],
    warnings: &mut Vec<String>,
) {
    let parts = [
        (config, package, PACKAGE),
        (config, &planner.flow_head.extra, HEADS),
        (config, &planner.connector.extra, HEADS),
        (mllm, &planner.lm.extra, QWEN),
        (mllm, &planner.lm.rope_scaling.extra, QWEN),
        (mllm, &planner.vision.extra, QWEN),
    ];
    for (file, extra, known) in parts {
        warnings.extend(unknown_keys(file, extra, known));
    }
}

/// Numbers of `config.json` that stand in no section; returns the rows of `mask_tokens`.
fn whole_config(file: &Path, config: &Extra) -> Result<usize, CheckpointError> {
    let wrong = |key, expected: &str, found: &Value| {
        let found = found.to_string().chars().take(60).collect();
        let source = ConfigError { key, expected: expected.into(), found };
        CheckpointError::Config { file: file.into(), source }
    };
    if let Some(boundary) = config.get("switch_dit_boundary")
        && !boundary.as_f64().is_some_and(|b| (0.0..=1.0).contains(&b))
    {
        return Err(wrong("switch_dit_boundary", "0 to 1", boundary));
    }
    let Some(rows) = config.get("num_mask_token") else { return Ok(MASK_TOKENS as usize) };
    let sane = rows.as_u64().filter(|n| (1..=1 << 20).contains(n));
    sane.map(|n| n as usize).ok_or_else(|| wrong("num_mask_token", "1 to 1048576", rows))
}

/// Qwen's tokenizer is one file or two.
fn tokenizer(mllm: &Path) -> Result<(), CheckpointError> {
    let parts = ["vocab.json", "merges.txt"].map(|name| mllm.join(name));
    if !parts.iter().all(|part| part.is_file()) {
        files::open(&mllm.join("tokenizer.json"))?;
    }
    Ok(())
}
