//! Prompts against the reference: ids of sentencepiece 0.2.0, cleaning of ftfy 6.3.1 and Python.

#![allow(clippy::unwrap_used)]

use bernini_runner::text::{T5Tokenizer, check_prompt, clean};
use serde_json::Value;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/");

fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(format!("{FOLDER}{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn ids_are_those_of_sentencepiece() {
    let golden = golden("tokens");
    let model = Path::new(FOLDER).join("tokenizer/spiece.model");
    let tokenizer = T5Tokenizer::from_file(&model).unwrap();
    assert_eq!(tokenizer.vocab_size() as u64, golden["vocab_size"].as_u64().unwrap());
    let prompts = golden["prompts"].as_array().unwrap();
    assert!(!prompts.is_empty());
    for prompt in prompts {
        let text = prompt["text"].as_str().unwrap();
        let expected: Vec<i64> = serde_json::from_value(prompt["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode(text), expected, "{text:?}");
    }
}

/// Terminal escapes, the one known difference of plsfix in these strings, never pass check_prompt.
#[test]
fn cleaning_is_that_of_python() {
    let golden = golden("clean");
    let strings = golden["strings"].as_array().unwrap();
    let mut compared = 0;
    for string in strings {
        let text = string["text"].as_str().unwrap();
        if !text.contains('\u{1b}') {
            assert_eq!(clean(text), string["clean"].as_str().unwrap(), "{text:?}");
            compared += 1;
        } else {
            assert!(check_prompt("prompt", text).is_err());
        }
    }
    assert!(compared >= 50);
}
