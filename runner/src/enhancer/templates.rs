//! The instruction of each task: `data/enhancer.json` (spec H.4).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The whole data file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Templates {
    system: String,
    tasks: BTreeMap<String, Template>,
}

/// What the enhancer is asked for one task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Template {
    /// Holds `{pictures}` and then `{prompt}`, once each.
    instruction: String,
    /// Frames shown of each source video.
    pub source_frames: usize,
}

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/enhancer.json"))
        .expect("invariant: the data file has a system text and a template per task")
});

/// The system text of every task.
pub(super) fn system() -> &'static str {
    &TEMPLATES.system
}

/// The template of a task, if there is such a task.
pub(super) fn template(task_type: &str) -> Option<&'static Template> {
    TEMPLATES.tasks.get(task_type)
}

impl Template {
    /// The instruction for a prompt; `pictures` says what the pictures show and may be empty.
    pub fn fill(&self, prompt: &str, pictures: &str) -> String {
        // The prompt goes in last: a placeholder that the user typed stays as typed.
        self.instruction.replacen("{pictures}", pictures, 1).replacen("{prompt}", prompt, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts;

    #[test]
    fn every_task_has_a_template_with_both_places_in_order() {
        assert!(prompts::task_types().eq(TEMPLATES.tasks.keys().map(String::as_str)));
        for (task, template) in &TEMPLATES.tasks {
            let text = &template.instruction;
            assert_eq!(text.matches("{pictures}").count(), 1, "{task}");
            assert_eq!(text.matches("{prompt}").count(), 1, "{task}");
            assert!(text.find("{pictures}") < text.find("{prompt}"), "{task}");
        }
    }

    /// The table of H.4: who is asked for JSON, and who is shown three frames.
    #[test]
    fn replies_and_frames_are_those_of_the_specification() {
        let json = |task: &str| template(task).unwrap().instruction.contains("rewritten_text");
        let tasks = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
            prompts::task_types().filter(|task| wanted(task)).collect()
        };
        assert_eq!(tasks(&json), ["r2i", "r2v", "rv2v", "vr2v", "vrc2v"]);
        let three = |task: &str| template(task).unwrap().source_frames == 3;
        assert_eq!(tasks(&three), ["ads2v", "rv2v", "vr2v", "vrc2v"]);
        assert!(template("nonsense").is_none());
    }

    #[test]
    fn placeholders_that_the_user_typed_stay() {
        let filled = template("t2v").unwrap().fill("a {pictures} {prompt} sign", "");
        assert!(filled.contains("User's prompt: a {pictures} {prompt} sign\n"), "{filled}");
    }
}
