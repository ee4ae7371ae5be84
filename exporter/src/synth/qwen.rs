//! A small tokenizer of Qwen's kind, as the files that `mllm/` has (spec A.2, D.1).
//!
//! Byte-level BPE: a piece for every byte, merges that build up common words letter by letter,
//! and the special tokens with the highest ids.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{file, spiece};

/// How Qwen splits text into words.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The byte-level stand-in for a space.
const SPACE: char = '\u{120}';
/// Special tokens in Qwen's order.
pub const SPECIAL: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// Id of a special token where the first one has id `first`.
pub fn special(first: usize, token: &str) -> usize {
    let place = SPECIAL.iter().position(|t| *t == token);
    first + place.expect("invariant: only special tokens are asked for")
}

/// Number of pieces that are not special: their ids begin at 0.
pub fn pieces() -> usize {
    256 + merges().len()
}

/// The tokenizer's files below `mllm/`; the special tokens begin at id `first`.
pub fn files(first: usize) -> Vec<(String, Vec<u8>)> {
    let (vocab, merges) = (vocabulary(), merges());
    let lines: Vec<_> = merges.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let tokenizer = tokenizer(first, &vocab, &merges);
    vec![
        file("mllm/vocab.json", &Value::Object(vocab)),
        ("mllm/merges.txt".into(), format!("#version: 0.2\n{}", lines.concat()).into_bytes()),
        file("mllm/tokenizer.json", &tokenizer),
        file("mllm/tokenizer_config.json", &tokenizer_config(first)),
        file("mllm/chat_template.json", &chat_template()),
    ]
}

/// Pairs that merge, in order: each word of the T5 model after its space, from the left.
fn merges() -> Vec<(String, String)> {
    let (mut merges, mut seen) = (vec![], HashSet::new());
    for word in spiece::WORDS.split_whitespace() {
        let mut piece = SPACE.to_string();
        for letter in word.chars() {
            let joined = format!("{piece}{letter}");
            if seen.insert(joined.clone()) {
                merges.push((piece, letter.to_string()));
            }
            piece = joined;
        }
    }
    merges
}

fn vocabulary() -> Map<String, Value> {
    let bytes = byte_characters().map(String::from);
    let pieces = bytes.chain(merges().into_iter().map(|(a, b)| a + &b));
    pieces.enumerate().map(|(id, piece)| (piece, json!(id))).collect()
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

fn tokenizer(first: usize, vocab: &Map<String, Value>, merges: &[(String, String)]) -> Value {
    let added: Vec<_> = SPECIAL
        .iter()
        .enumerate()
        .map(|(i, token)| {
            let mut token = added(token);
            token["id"] = json!(first + i);
            token
        })
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    let split = json!({
        "type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
}

/// A special token without its id.
fn added(token: &str) -> Value {
    json!({
        "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn tokenizer_config(first: usize) -> Value {
    let by_id: Map<_, _> =
        SPECIAL.iter().enumerate().map(|(i, t)| ((first + i).to_string(), added(t))).collect();
    json!({
        "add_prefix_space": false,
        "added_tokens_decoder": by_id,
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "model_max_length": 131_072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": false,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": null,
    })
}

fn chat_template() -> Value {
    let template = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n\
        {{ message['content'] }}<|im_end|>\n{% endfor %}";
    json!({"chat_template": template})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let characters: HashSet<_> = byte_characters().collect();
        assert_eq!(characters.len(), 256);
        assert_eq!(byte_characters().nth(0x20), Some(SPACE));
    }

    #[test]
    fn merges_join_pieces_that_are_there_and_ids_have_no_gap() {
        let vocab = vocabulary();
        assert_eq!(vocab.len(), pieces());
        let mut known: HashSet<String> = byte_characters().map(String::from).collect();
        for (a, b) in merges() {
            assert!(known.contains(&a) && known.contains(&b), "{a} {b}");
            known.insert(a + &b);
        }
        let mut ids: Vec<_> = vocab.values().filter_map(Value::as_u64).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..pieces() as u64));
    }

    #[test]
    fn the_release_has_its_special_tokens_where_its_config_says() {
        let ids = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
            .map(|token| special(151_643, token));
        assert_eq!(ids, [151_652, 151_653, 151_655, 151_656]);
    }
}
