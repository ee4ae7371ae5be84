//! Strings of the official pipeline that a checkpoint does not carry; see data/README.md.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Wan's negative prompt, in Chinese (spec G.8).
pub const DEFAULT_NEG_PROMPT: &str = include_str!("../data/negative_prompt.txt").trim_ascii_end();

static SYSTEM_PROMPTS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/system_prompts.json"))
        .expect("invariant: the data file is a map of strings")
});

/// The sentence that goes before the prompt of a task, for the text encoder (spec H.3).
pub fn system_prompt(task_type: &str) -> Option<&'static str> {
    SYSTEM_PROMPTS.get(task_type).map(String::as_str)
}

/// Every task name.
pub fn task_types() -> impl Iterator<Item = &'static str> {
    SYSTEM_PROMPTS.keys().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_of_the_specification_has_a_sentence() {
        let tasks = "t2i t2v i2i i2v r2i r2v v2v mv2v vi2v rv2v vr2v vrc2v ads2v";
        assert!(tasks.split(' ').all(|task| system_prompt(task).is_some()));
        assert_eq!(task_types().count(), 13);
        assert_eq!(system_prompt("nonsense"), None);
        assert!(DEFAULT_NEG_PROMPT.ends_with("倒着走"));
    }
}
