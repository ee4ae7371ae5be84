//! Checkpoints in the released layout: the tiny one of `tiny.json`, and variants of it with one
//! planner component of another golden.

use std::fs;

use bernini_exporter::checkpoint::StoredType;
use bernini_exporter::synth::{Blueprint, SynthTensor, SynthWeights, Values};
use serde_json::{Value, json};

use crate::{Golden, Model};

/// Which part of a single golden stands where in a full checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannerPart {
    /// `vision_*`
    Vision,
    /// `planner_lm_*`
    LanguageModel,
    /// `connector`
    Connector,
    /// `flow_head`
    FlowHead,
}

impl PlannerPart {
    fn prefix(self) -> &'static str {
        match self {
            Self::Vision => "mllm.visual.",
            Self::LanguageModel => "mllm.model.",
            Self::Connector => "connector.",
            Self::FlowHead => "vit_decoder.net.",
        }
    }
}

impl Model {
    /// The tiny full checkpoint of the composed goldens.
    pub fn full() -> Self {
        let golden = Golden::load("tiny");
        let weights = [("bernini", "bernini."), ("vae", "vae.")]
            .map(|(folder, prefix)| weights(folder, golden.tensors(prefix)));
        Self::export(&blueprint(&golden.json["configs"], weights.into()))
    }

    /// The tiny full checkpoint with one part of the golden `case`; the rest of the planner fits
    /// it and has weights of no account.
    pub fn full_with(case: &str, part: PlannerPart) -> Self {
        let golden = Golden::load(case);
        let tiny = Golden::load("tiny");
        let configs = fitted(&tiny.json["configs"], &golden.json, part);
        let mut tensors = asked(&configs);
        for tensor in golden.tensors("") {
            let name = format!("{}{}", part.prefix(), tensor.name);
            tensors.retain(|other| other.name != name);
            tensors.push(SynthTensor { name, ..tensor });
        }
        let vae = weights("vae", tiny.tensors("vae."));
        Self::export(&blueprint(&configs, vec![weights("bernini", tensors), vae]))
    }
}

fn weights(folder: &str, tensors: Vec<SynthTensor>) -> SynthWeights {
    let stem = if folder == "vae" { "diffusion_pytorch_model" } else { "model" };
    SynthWeights { folder: folder.into(), stem, shards: 1, tensors }
}

fn blueprint(configs: &Value, weights: Vec<SynthWeights>) -> Blueprint {
    let mut files: Vec<_> = configs
        .as_object()
        .expect("configs by path")
        .iter()
        .map(|(path, config)| (path.clone(), config.to_string().into_bytes()))
        .collect();
    for (folder, golden) in [("mllm", "tokenizer_qwen"), ("t5_tokenizer", "tokenizer")] {
        for entry in fs::read_dir(Golden::folder().join(golden)).expect("committed") {
            let path = entry.expect("readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("plain names");
            files.push((format!("{folder}/{name}"), fs::read(&path).expect("readable")));
        }
    }
    Blueprint { files, weights, dtype: StoredType::F32 }
}

/// The tiny configs with the golden's in place of one part's, and the others made to fit.
fn fitted(tiny: &Value, golden: &Value, part: PlannerPart) -> Value {
    let mut configs = tiny.clone();
    let (hidden, cond, text) = match part {
        PlannerPart::Vision => (&golden["config"]["out_hidden_size"], None, None),
        PlannerPart::LanguageModel => (&golden["config"]["hidden_size"], None, None),
        PlannerPart::Connector => {
            let widths = &golden["connector_cfg"];
            let (cond, text) = (&widths["out_dim_for_vit"], &widths["out_dim_for_gen"]);
            (&golden["hidden_size"], Some(cond), Some(text))
        }
        PlannerPart::FlowHead => (&golden["clip_diff_cfg"]["z_channels"], None, None),
    };
    let cond = cond.unwrap_or(hidden);
    let half = hidden.as_u64().expect("a width") / 4;
    let lm = &mut configs["mllm/config.json"];
    lm["hidden_size"] = hidden.clone();
    lm["num_attention_heads"] = json!(2);
    lm["num_key_value_heads"] = json!(1);
    lm["rope_scaling"]["mrope_section"] = json!([half - 2, 1, 1]);
    lm["vision_config"]["out_hidden_size"] = hidden.clone();
    match part {
        PlannerPart::Vision => lm["vision_config"] = golden["config"].clone(),
        PlannerPart::LanguageModel => {
            for (key, value) in golden["config"].as_object().expect("a config") {
                lm[key] = value.clone();
            }
        }
        PlannerPart::Connector | PlannerPart::FlowHead => {}
    }
    let top = &mut configs["config.json"];
    top["connector_cfg"]["out_dim_for_vit"] = cond.clone();
    top["clip_diff_cfg"]["z_channels"] = cond.clone();
    top["clip_diff_cfg"]["target_channels"] = hidden.clone();
    if part == PlannerPart::FlowHead {
        for (key, value) in golden["clip_diff_cfg"].as_object().expect("a config") {
            top["clip_diff_cfg"][key] = value.clone();
        }
    }
    if let Some(text) = text {
        top["connector_cfg"]["out_dim_for_gen"] = text.clone();
        configs["t5_text_encoder/config.json"]["d_model"] = text.clone();
        for expert in ["transformer_config.json", "transformer_2_config.json"] {
            configs[expert]["text_dim"] = text.clone();
        }
    }
    configs
}

/// Every tensor of `bernini/` that a checkpoint with `configs` must have.
fn asked(configs: &Value) -> Vec<SynthTensor> {
    let lm = &configs["mllm/config.json"];
    let number = |value: &Value| value.as_u64().expect("a size") as usize;
    let (hidden, vocab) = (number(&lm["hidden_size"]), number(&lm["vocab_size"]));
    let text = &configs["t5_text_encoder/config.json"];
    let mut shapes = vec![
        (
            "mask_tokens".to_string(),
            vec![1, number(&configs["config.json"]["num_mask_token"]), hidden],
        ),
        ("mllm.model.embed_tokens.weight".into(), vec![vocab, hidden]),
        (
            "t5_text_encoder.shared.weight".into(),
            vec![number(&text["vocab_size"]), number(&text["d_model"])],
        ),
    ];
    shapes.extend(crate::model::asked_of_full(configs));
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let values = Values { name: name.clone(), mean: 0.0, std: 0.1, heavy_tail: false };
        SynthTensor { name, shape, values }
    });
    tensors.collect()
}
