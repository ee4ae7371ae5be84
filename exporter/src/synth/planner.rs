//! The planner's part of a full package: names and configs of a real one (spec A.8, A.9), sizes
//! of a toy. No graph reads it yet.

use serde_json::{Value, json};

use super::{SynthTensor, Values};

/// Width of the language model, and of the features that the head predicts.
const HIDDEN: usize = 48;
/// Query heads; each has `HIDDEN / HEADS` channels.
const HEADS: usize = 3;
const HEAD_DIM: usize = 16;
const INTERMEDIATE: usize = 88;
const LAYERS: usize = 3;
const VISION: usize = 40;
const VISION_INTERMEDIATE: usize = 52;
const VISION_DEPTH: usize = 2;
/// Width of the flow-matching head.
const HEAD_WIDTH: usize = 56;
const HEAD_DEPTH: usize = 2;
const MASK_TOKENS: usize = 6;
/// 256 bytes, then the special tokens.
const VOCABULARY: usize = 256 + SPECIAL.len();
const SPECIAL: [&str; 8] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

fn special(token: &str) -> usize {
    256 + SPECIAL.iter().position(|t| *t == token).unwrap_or(0)
}

/// `config.json` of the package (spec A.3), for a text encoder of width `text_dim`.
pub(super) fn package_config(text_dim: usize) -> Value {
    json!({
        "architectures": ["BerniniModel"],
        "bernini_ckpt_subfolder": "bernini",
        "clip_diff_cfg": {
            "depth": HEAD_DEPTH, "diff_net": "SimpleMLPAdaLN", "extra_one_step": true,
            "num_inference_steps": 100, "scheduler": "FlowMatchScheduler", "shift": 2.0,
            "target_channels": HIDDEN, "width": HEAD_WIDTH, "z_channels": HIDDEN,
        },
        "connector_cfg": {
            "gen_head_type": "zerolinear", "out_dim_for_gen": text_dim, "out_dim_for_vit": HIDDEN,
        },
        "cotrain": true,
        "feature_type_from_stage_one": "masked_tgt_embed_with_qwen_txt_vit_tokens",
        "flow_shift": 5,
        "interpolate_src_id": true,
        "max_sequence_length": 512,
        "max_trained_src_id": 5,
        "mllm_attn_implementation": "sdpa",
        "mllm_subfolder": "mllm",
        "model_type": "bernini",
        "num_mask_token": MASK_TOKENS,
        "processor_subfolder": "mllm",
        "scratch": true,
        "scratch_mllm": true,
        "shift": 3.0,
        "switch_dit_boundary": 0.875,
        "t5_combine_type": "concat_with_zero_init",
        "t5_max_sequence_length": 512,
        "t5_text_encoder_subfolder": "t5_text_encoder",
        "t5_tokenizer_subfolder": "t5_tokenizer",
        "target_fps": 16,
        "tie_word_embeddings": false,
        "use_src_id_rotary_emb": true,
        "use_unipc": false,
        "vae_subfolder": "vae",
    })
}

/// Files of `mllm/`: config, processor, and a byte-level BPE without merges.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let vocab: serde_json::Map<_, _> =
        byte_characters().enumerate().map(|(id, c)| (c.to_string(), json!(id))).collect();
    let added: Vec<_> = SPECIAL
        .iter()
        .map(|token| {
            json!({"id": special(token), "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
        "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "NFC"}, "pre_tokenizer": byte_level, "post_processor": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocab, "merges": []},
    });
    let tokenizer_config = json!({"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "add_bos_token": false});
    let template = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n\
        {{ message['content'] }}<|im_end|>\n{% endfor %}";
    vec![
        super::file("mllm/config.json", &config()),
        super::file("mllm/preprocessor_config.json", &preprocessor()),
        super::file("mllm/vocab.json", &Value::Object(vocab)),
        ("mllm/merges.txt".into(), b"#version: 0.2\n".to_vec()),
        super::file("mllm/tokenizer.json", &tokenizer),
        super::file("mllm/tokenizer_config.json", &tokenizer_config),
        super::file("mllm/chat_template.json", &json!({"chat_template": template})),
    ]
}

/// `mllm/config.json` in the flat form (spec A.8).
fn config() -> Value {
    json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "image_token_id": special("<|image_pad|>"),
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 128_000,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6,
        "rope_scaling": {"mrope_section": [2, 3, 3], "type": "mrope"},
        "rope_theta": 1e6,
        "tie_word_embeddings": false,
        "torch_dtype": "float32",
        "video_token_id": special("<|video_pad|>"),
        "vision_config": {
            "depth": VISION_DEPTH, "fullatt_block_indexes": [VISION_DEPTH - 1],
            "hidden_act": "silu", "hidden_size": VISION, "in_chans": 3,
            "intermediate_size": VISION_INTERMEDIATE, "num_heads": 2, "out_hidden_size": HIDDEN,
            "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
            "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
        },
        "vision_end_token_id": special("<|vision_end|>"),
        "vision_start_token_id": special("<|vision_start|>"),
        "vocab_size": VOCABULARY,
    })
}

fn preprocessor() -> Value {
    json!({
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_processor_type": "Qwen2VLImageProcessor",
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "max_pixels": 12_845_056,
        "merge_size": 2,
        "min_pixels": 3136,
        "patch_size": 14,
        "processor_class": "Qwen2_5_VLProcessor",
        "temporal_patch_size": 2,
    })
}

/// GPT-2's 256 printable stand-ins for bytes, by byte value.
fn byte_characters() -> impl Iterator<Item = char> {
    let mut next = 256;
    (0..=255u32).filter_map(move |byte| {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable { byte } else { next };
        next += u32::from(!printable);
        char::from_u32(code)
    })
}

/// Tensors of `mllm.`, `vit_decoder.`, `connector.` and `mask_tokens`.
pub(super) fn tensors(text_dim: usize, seed: u64) -> Vec<SynthTensor> {
    let mut list = List { seed, tensors: vec![] };
    language_model(&mut list);
    vision(&mut list);
    head(&mut list);
    for (name, out) in [("proj_gen", text_dim), ("pred_vit", HIDDEN)] {
        let (norm, last) = if name == "proj_gen" { (2, 3) } else { (3, 4) };
        list.linear(&format!("connector.{name}.0"), out, HIDDEN);
        if name == "pred_vit" {
            list.linear("connector.pred_vit.2", out, out);
        }
        list.norm(&format!("connector.{name}.{norm}"), out);
        list.linear(&format!("connector.{name}.{last}"), out, out);
    }
    list.push("mask_tokens".into(), &[1, MASK_TOKENS, HIDDEN], (0.0, 1.0));
    list.tensors
}

struct List {
    seed: u64,
    tensors: Vec<SynthTensor>,
}

impl List {
    fn push(&mut self, name: String, shape: &[usize], (mean, std): (f64, f64)) {
        let values = Values { name: format!("{name}#{}", self.seed), mean, std };
        self.tensors.push(SynthTensor { name, shape: shape.into(), values });
    }

    fn weight(&mut self, path: &str, shape: &[usize]) {
        let fan_in: usize = shape[1..].iter().product();
        self.push(format!("{path}.weight"), shape, (0.0, (fan_in as f64).sqrt().recip()));
    }

    fn bias(&mut self, path: &str, size: usize) {
        self.push(format!("{path}.bias"), &[size], (0.0, 0.05));
    }

    fn linear(&mut self, path: &str, out: usize, width: usize) {
        self.weight(path, &[out, width]);
        self.bias(path, out);
    }

    fn norm(&mut self, path: &str, size: usize) {
        self.push(format!("{path}.weight"), &[size], (1.0, 0.1));
    }
}

fn language_model(list: &mut List) {
    list.push("mllm.model.embed_tokens.weight".into(), &[VOCABULARY, HIDDEN], (0.0, 1.0));
    for i in 0..LAYERS {
        let at = |name: &str| format!("mllm.model.layers.{i}.{name}");
        list.norm(&at("input_layernorm"), HIDDEN);
        list.norm(&at("post_attention_layernorm"), HIDDEN);
        list.linear(&at("self_attn.q_proj"), HEADS * HEAD_DIM, HIDDEN);
        list.linear(&at("self_attn.k_proj"), HEAD_DIM, HIDDEN);
        list.linear(&at("self_attn.v_proj"), HEAD_DIM, HIDDEN);
        list.weight(&at("self_attn.o_proj"), &[HIDDEN, HEADS * HEAD_DIM]);
        list.weight(&at("mlp.gate_proj"), &[INTERMEDIATE, HIDDEN]);
        list.weight(&at("mlp.up_proj"), &[INTERMEDIATE, HIDDEN]);
        list.weight(&at("mlp.down_proj"), &[HIDDEN, INTERMEDIATE]);
    }
    list.norm("mllm.model.norm", HIDDEN);
    list.weight("mllm.lm_head", &[VOCABULARY, HIDDEN]);
}

fn vision(list: &mut List) {
    list.weight("mllm.visual.patch_embed.proj", &[VISION, 3, 2, 14, 14]);
    for i in 0..VISION_DEPTH {
        let at = |name: &str| format!("mllm.visual.blocks.{i}.{name}");
        list.norm(&at("norm1"), VISION);
        list.norm(&at("norm2"), VISION);
        list.linear(&at("attn.qkv"), 3 * VISION, VISION);
        list.linear(&at("attn.proj"), VISION, VISION);
        list.linear(&at("mlp.gate_proj"), VISION_INTERMEDIATE, VISION);
        list.linear(&at("mlp.up_proj"), VISION_INTERMEDIATE, VISION);
        list.linear(&at("mlp.down_proj"), VISION, VISION_INTERMEDIATE);
    }
    list.norm("mllm.visual.merger.ln_q", VISION);
    list.linear("mllm.visual.merger.mlp.0", 4 * VISION, 4 * VISION);
    list.linear("mllm.visual.merger.mlp.2", HIDDEN, 4 * VISION);
}

fn head(list: &mut List) {
    let at = |name: &str| format!("vit_decoder.net.{name}");
    list.linear(&at("time_embed.mlp.0"), HEAD_WIDTH, 256);
    list.linear(&at("time_embed.mlp.2"), HEAD_WIDTH, HEAD_WIDTH);
    list.linear(&at("cond_embed"), HEAD_WIDTH, HIDDEN);
    list.linear(&at("input_proj"), HEAD_WIDTH, HIDDEN);
    for i in 0..HEAD_DEPTH {
        let at = |name: &str| format!("vit_decoder.net.res_blocks.{i}.{name}");
        list.norm(&at("in_ln"), HEAD_WIDTH);
        list.bias(&at("in_ln"), HEAD_WIDTH);
        list.linear(&at("mlp.0"), HEAD_WIDTH, HEAD_WIDTH);
        list.linear(&at("mlp.2"), HEAD_WIDTH, HEAD_WIDTH);
        list.linear(&at("adaLN_modulation.1"), 3 * HEAD_WIDTH, HEAD_WIDTH);
    }
    list.linear(&at("final_layer.linear"), HIDDEN, HEAD_WIDTH);
    list.linear(&at("final_layer.adaLN_modulation.1"), 2 * HEAD_WIDTH, HEAD_WIDTH);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_scale_like_those_of_the_release() {
        // A.9 with 28 layers, 32 vision blocks and 16 head blocks: 338 + 1 + 390, 140, 12, 1.
        let tensors = tensors(28, 0);
        let count = |prefix: &str| tensors.iter().filter(|t| t.name.starts_with(prefix)).count();
        assert_eq!(count("mllm.model.") + 12 * (28 - LAYERS), 338);
        assert_eq!(count("mllm.visual.") + 12 * (32 - VISION_DEPTH), 390);
        assert_eq!(count("mllm.lm_head"), 1);
        assert_eq!(count("vit_decoder.") + 8 * (16 - HEAD_DEPTH), 140);
        assert_eq!((count("connector."), count("mask_tokens")), (12, 1));
    }

    #[test]
    fn every_byte_has_its_own_character() {
        let characters: std::collections::BTreeSet<_> = byte_characters().collect();
        assert_eq!(characters.len(), 256);
        assert_eq!(byte_characters().nth(0x20), Some('\u{120}'));
    }
}
