//! Recommended settings of the full model per task (spec G.7, D.11), from data/presets.json.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::prompts::DEFAULT_NEG_PROMPT;

const ENGLISH_NEG_PROMPT: &str = include_str!("../../data/negative_prompt_en.txt").trim_ascii_end();

static TABLE: LazyLock<BTreeMap<Version, BTreeMap<String, Preset>>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/presets.json"))
        .expect("invariant: the data file has every field of every preset")
});

/// Which release's settings (`--preset v1|v2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Version {
    V1,
    V2,
}

/// Settings of one task; names as the flags of spec H.3.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Preset {
    pub guidance_mode: String,
    /// 0: the source video's.
    pub height: u32,
    /// 0: the source video's.
    pub width: u32,
    pub num_frames: usize,
    pub max_image_size: u32,
    pub num_inference_steps: usize,
    pub flow_shift: f64,
    pub omega_vid: f64,
    pub omega_img: f64,
    pub omega_txt: f64,
    pub omega_tgt: f64,
    pub omega_scale: f64,
    pub planning_step: usize,
    pub vit_denoising_step: usize,
    pub vit_txt_cfg: f64,
    pub vit_img_cfg: Option<f64>,
    #[serde(default)]
    neg_prompt: NegPrompt,
}

/// Which wording of Wan's negative prompt (G.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NegPrompt {
    #[default]
    Chinese,
    English,
}

impl Preset {
    /// The settings of a task.
    ///
    /// # Errors
    /// A task that the presets do not know; the error lists those they do.
    pub fn get(version: Version, task_type: &str) -> Result<&'static Self, PresetError> {
        let tasks = TABLE.get(&version).expect("invariant: the data file has both versions");
        tasks.get(task_type).ok_or_else(|| PresetError::Task {
            version,
            found: task_type.chars().take(64).collect(),
            legal: tasks.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// The negative prompt that the scripts of this version pass.
    pub fn neg_prompt(&self) -> &'static str {
        match self.neg_prompt {
            NegPrompt::Chinese => DEFAULT_NEG_PROMPT,
            NegPrompt::English => ENGLISH_NEG_PROMPT,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V1 { "v1" } else { "v2" })
    }
}

impl FromStr for Version {
    type Err = PresetError;

    fn from_str(text: &str) -> Result<Self, PresetError> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(PresetError::Version { found: text.chars().take(64).collect() }),
        }
    }
}

/// Why there is no such preset.
#[derive(Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PresetError {
    #[error("preset: expected v1 or v2, found {found:?}")]
    Version { found: String },
    #[error("preset {version} has no task {found:?}; set --task_type to one of {legal}")]
    Task { version: Version, found: String, legal: String },
}

#[cfg(test)]
mod tests {
    use bernini_graphs::manifest::Variant;

    use super::*;
    use crate::guidance::GuidanceMode;

    const TASKS: [&str; 8] = ["t2i", "i2i", "t2v", "v2v", "mv2v", "r2v", "rv2v", "ads2v"];

    fn preset(version: Version, task: &str) -> &'static Preset {
        Preset::get(version, task).unwrap()
    }

    fn omegas(version: Version, task: &str) -> [f64; 5] {
        let p = preset(version, task);
        [p.omega_vid, p.omega_img, p.omega_txt, p.omega_tgt, p.omega_scale]
    }

    #[test]
    fn every_task_has_both_and_a_mode_of_the_full_model() {
        for version in [Version::V1, Version::V2] {
            for task in TASKS {
                let mode = &preset(version, task).guidance_mode;
                GuidanceMode::parse(mode, Variant::Full).unwrap();
            }
            assert_eq!(TABLE[&version].len(), TASKS.len());
        }
    }

    #[test]
    fn values_are_those_of_the_specification() {
        use Version::{V1, V2};
        assert_eq!(omegas(V1, "t2v"), [1.0, 1.0, 4.0, 0.5, 1.0]);
        assert_eq!(omegas(V1, "rv2v"), [0.75, 3.0, 4.0, 1.5, 0.75]);
        assert_eq!(omegas(V1, "r2v"), [1.25, 2.5, 4.0, 1.5, 0.8]);
        assert_eq!(omegas(V2, "t2v"), [1.0, 1.0, 5.0, 1.2, 1.0]);
        assert_eq!(omegas(V2, "ads2v"), [1.25, 1.25, 4.0, 1.2, 0.75]);
        assert_eq!(omegas(V2, "rv2v"), [1.75, 4.0, 5.5, 1.5, 0.75]);
        assert_eq!(omegas(V2, "r2v"), [1.0, 3.0, 4.5, 1.5, 0.75]);
        assert_eq!(preset(V1, "i2i"), preset(V2, "i2i"));
        let planner = |version, task| {
            let p = preset(version, task);
            (p.planning_step, p.vit_denoising_step, p.vit_txt_cfg, p.vit_img_cfg)
        };
        assert_eq!(planner(V1, "v2v"), (25, 5, 1.2, Some(1.0)));
        assert_eq!(planner(V2, "v2v"), (50, 1, 1.2, Some(1.0)));
        assert_eq!(planner(V2, "t2i"), (25, 5, 1.2, Some(1.0)));
    }

    #[test]
    fn tasks_with_a_video_follow_its_size_and_the_others_have_one() {
        for version in [Version::V1, Version::V2] {
            for task in TASKS {
                let Preset { height, width, num_frames, .. } = *preset(version, task);
                let expected = match task {
                    "t2i" | "i2i" => (512, 512, 1),
                    "t2v" | "r2v" => (480, 848, 81),
                    _ => (0, 0, 81),
                };
                assert_eq!((height, width, num_frames), expected, "{task}");
            }
        }
    }

    #[test]
    fn three_tasks_of_v2_have_an_english_negative_prompt() {
        let english = |version| {
            TASKS.into_iter().filter(move |task| preset(version, task).neg_prompt().is_ascii())
        };
        assert_eq!(english(Version::V2).collect::<Vec<_>>(), ["v2v", "mv2v", "r2v"]);
        assert_eq!(english(Version::V1).count(), 0);
    }

    #[test]
    fn unknown_names_are_listed() {
        assert_eq!("v2".parse::<Version>().unwrap().to_string(), "v2");
        assert!("v3".parse::<Version>().unwrap_err().to_string().contains("v1 or v2"));
        let error = Preset::get(Version::V2, "vrc2v").unwrap_err().to_string();
        assert!(error.contains("vrc2v") && error.contains("ads2v, i2i, mv2v"), "{error}");
    }
}
