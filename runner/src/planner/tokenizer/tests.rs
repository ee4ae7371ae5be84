use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::*;

const SPECIAL: [&str; 5] =
    ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"];

/// 256 bytes in the order of their characters, `ab`, `abc`, then the special tokens far away.
fn definition() -> Value {
    let mut alphabet: Vec<String> = ByteLevel::alphabet().iter().map(char::to_string).collect();
    alphabet.sort();
    alphabet.extend(["ab".to_string(), "abc".to_string()]);
    let vocab: serde_json::Map<String, Value> =
        alphabet.into_iter().enumerate().map(|(id, piece)| (piece, id.into())).collect();
    let added: Vec<Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(i, token)| json!({"id": 1000 + 7 * i, "content": token, "special": true}))
        .collect();
    json!({
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated",
             "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"], "ab c"]},
    })
}

fn load(json: &Value) -> Result<QwenTokenizer, QwenTokenizerError> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    QwenTokenizer::from_folder(folder.path())
}

/// A tokenizer whose pieces are bytes.
pub(in crate::planner) fn tiny_tokenizer() -> QwenTokenizer {
    load(&definition()).unwrap()
}

#[test]
fn merges_apply_in_order_and_special_tokens_keep_their_ids() {
    let tokenizer = load(&definition()).unwrap();
    let special = tokenizer.special();
    assert_eq!((special.im_start, special.video_pad), (1000, 1028));
    assert_eq!(tokenizer.encode("abcab").unwrap(), [257, 256]);
    assert_eq!(
        tokenizer.encode("ab<|video_pad|>abc<|vision_end|>").unwrap(),
        [256, 1028, 257, 1014]
    );
    assert_eq!(tokenizer.encode("").unwrap(), Vec::<i64>::new());
}

#[test]
fn text_is_composed_before_it_is_cut_into_bytes() {
    let tokenizer = load(&definition()).unwrap();
    assert_eq!(tokenizer.encode("e\u{301}").unwrap(), tokenizer.encode("é").unwrap());
    let mut plain = definition();
    plain["normalizer"] = Value::Null;
    let plain = load(&plain).unwrap();
    assert_eq!(plain.encode("e\u{301}").unwrap().len(), 3);
}

#[test]
fn vocabulary_and_merges_give_the_same_ids_as_one_file() {
    let json = definition();
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("vocab.json", json["model"]["vocab"].to_string());
    write("merges.txt", "#version: 0.2\na b\nab c\n".into());
    let by_id = json["added_tokens"].as_array().unwrap().iter();
    let by_id: serde_json::Map<String, Value> =
        by_id.map(|token| (token["id"].to_string(), token.clone())).collect();
    write("tokenizer_config.json", json!({"added_tokens_decoder": by_id}).to_string());
    let (parts, one) = (QwenTokenizer::from_folder(folder.path()).unwrap(), load(&json).unwrap());
    let text = "abc é<|image_pad|> 猫 'll 12\n\n  x";
    assert_eq!(parts.encode(text).unwrap(), one.encode(text).unwrap());
    write("merges.txt", "a b\na b c\n".into());
    let error = QwenTokenizer::from_folder(folder.path()).unwrap_err().to_string();
    assert!(error.contains("merges.txt") && error.contains("two pieces a line"), "{error}");
}

#[test]
fn definitions_of_another_kind_are_named() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 14] = [
        ("model.type", |v| v["model"]["type"] = "Unigram".into()),
        ("model.dropout", |v| v["model"]["dropout"] = 0.5.into()),
        ("model.ignore_merges", |v| v["model"]["ignore_merges"] = true.into()),
        ("normalizer", |v| v["normalizer"]["type"] = "Lowercase".into()),
        ("pre_tokenizer", |v| v["pre_tokenizer"]["pretokenizers"][0]["invert"] = true.into()),
        ("merges", |v| v["model"]["merges"] = json!([["abc", "abc"]])),
        ("merges", |v| v["model"]["merges"] = json!([["", "a"]])),
        ("vocab", |v| v["model"]["vocab"]["ab"] = 3.into()),
        ("ids below", |v| v["model"]["vocab"]["ab"] = (1u32 << 31).into()),
        ("none for 'a'", |v| drop(v["model"]["vocab"].as_object_mut().unwrap().remove("a"))),
        ("id of \"ab\"", |v| v["added_tokens"][0]["content"] = "ab".into()),
        ("none for id 1007", |v| v["added_tokens"][1]["content"] = "".into()),
        ("at most 4096", |v| {
            let token = |i| json!({"id": 2000 + i, "content": format!("<{i}>")});
            v["added_tokens"] = (0..5000).map(token).collect();
        }),
        ("<|image_pad|>", |v| v["added_tokens"][3]["content"] = "<|other|>".into()),
    ];
    for (field, change) in changes {
        let mut bad = definition();
        change(&mut bad);
        let error = load(&bad).unwrap_err();
        assert!(matches!(error, QwenTokenizerError::Definition { .. }), "{field}: {error}");
        assert!(error.to_string().contains(field), "{field}: {error}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let folder = TempDir::new().unwrap();
    let read = || QwenTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(matches!(read(), QwenTokenizerError::Io { .. }));
    let path = folder.path().join("tokenizer.json");
    let good = definition().to_string();
    for length in (0..good.len()).step_by(211) {
        fs::write(&path, &good[..good.floor_char_boundary(length)]).unwrap();
        assert!(matches!(read(), QwenTokenizerError::Json { .. }), "{length} bytes");
    }
    fs::write(&path, "[".repeat(100_000)).unwrap();
    assert!(matches!(read(), QwenTokenizerError::Json { .. }));
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(read(), QwenTokenizerError::TooLarge { .. }));
}

#[test]
fn a_megabyte_of_anything_is_encoded() {
    let tokenizer = load(&definition()).unwrap();
    for text in [" ", "\n", "a", "猫", "'", "1", "\u{301}", "<|"] {
        let long = text.repeat(1_000_000 / text.len());
        let ids = tokenizer.encode(&long).unwrap();
        assert_eq!(ids.len(), long.len(), "{text:?}");
    }
}
