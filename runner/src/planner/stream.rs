//! The planner's tokens: three messages, three branches (spec D.1–D.3, K.2, K.3).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use super::tokenizer::{QwenTokenizer, QwenTokenizerError, SpecialTokens};
use crate::latents::Grid;
use crate::text;

static SYSTEM_SENTENCES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/planner_system_prompts.json"))
        .expect("invariant: the data file is a map of strings")
});

/// The sentence of the system message (spec D.2): the task's own, or that of `default`.
pub fn system_sentence(task_type: &str) -> &'static str {
    let sentence = SYSTEM_SENTENCES.get(task_type).or_else(|| SYSTEM_SENTENCES.get("default"));
    sentence.expect("invariant: the data file has a default")
}

/// Which of the three streams (spec D.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Branch {
    /// Sources and prompt.
    Cond,
    /// The prompt alone.
    ImgCond,
    /// The negative prompt alone.
    Uncond,
}

/// The texts of a request as the user gave them.
#[derive(Clone, Copy, Debug)]
pub struct PlannerText<'a> {
    /// Goes into the system message, from [`system_sentence`].
    pub system: &'a str,
    /// What to make; cleaned here.
    pub prompt: &'a str,
    /// What to avoid; stripped, but not cleaned (K.2). If one character or less is left, nothing.
    pub negative: &'a str,
}

/// What a visual block shows; decides its placeholder and its positions in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisualKind {
    /// `<|image_pad|>`
    Image,
    /// `<|video_pad|>`
    Video,
}

/// A source, or the target, as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visual {
    /// Image or video.
    pub kind: VisualKind,
    /// Merged tokens of the vision tower: pairs of frames, rows and columns of 28 pixels.
    pub grid: Grid,
}

/// The placeholders of a [`Visual`] within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisualBlock {
    /// What stands there.
    pub visual: Visual,
    /// Index of its first placeholder.
    pub start: usize,
}

impl VisualBlock {
    /// Indices of its placeholders, `vision_start` and `vision_end` not included.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.visual.grid.tokens()
    }
}

/// The tokens of one branch.
///
/// Token types (D.5): placeholders of `sources` are 2, those of `target` 3, all others 0, those
/// included that a prompt writes out itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStream {
    /// Token ids; those of placeholders have no embedding of their own.
    pub ids: Vec<i64>,
    /// Source blocks in order; their embeddings are the vision tower's features.
    pub sources: Vec<VisualBlock>,
    /// The target block; its embeddings are what the MaskGIT loop fills.
    pub target: VisualBlock,
}

impl TokenStream {
    /// The stream of `branch`. `sources` are the videos, then the images, in order of the request.
    pub fn new(
        tokenizer: &QwenTokenizer,
        branch: Branch,
        text: PlannerText<'_>,
        sources: &[Visual],
        target: Visual,
    ) -> Result<Self, QwenTokenizerError> {
        let prompt = match branch {
            Branch::Cond | Branch::ImgCond => text::clean(text.prompt),
            Branch::Uncond => {
                let negative = text.negative.trim();
                if negative.chars().nth(1).is_some() { negative.into() } else { String::new() }
            }
        };
        let sources = if branch == Branch::Cond { sources } else { &[] };
        let mut writer = Writer { tokenizer, ids: vec![] };
        writer.message("system", &[], text.system)?;
        let sources = writer.message("user", sources, &prompt)?;
        let targets = writer.message("assistant", &[target], "")?;
        Ok(Self { ids: writer.ids, sources, target: targets[0] })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none; the target's block alone has tokens, so there is always one.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Indices of all tokens but the target's, in order: the rows of the cached prefix.
    pub fn prefix(&self) -> impl Iterator<Item = usize> + use<> {
        let target = self.target.range();
        (0..self.len()).filter(move |index| !target.contains(index))
    }

    /// Number of tokens of the prefix.
    pub fn prefix_len(&self) -> usize {
        self.len() - self.target.range().len()
    }
}

struct Writer<'a> {
    tokenizer: &'a QwenTokenizer,
    ids: Vec<i64>,
}

impl Writer<'_> {
    /// Role tag, blocks, text; nothing at all where there are neither blocks nor text.
    fn message(
        &mut self,
        role: &str,
        visuals: &[Visual],
        text: &str,
    ) -> Result<Vec<VisualBlock>, QwenTokenizerError> {
        let text = text.trim();
        if visuals.is_empty() && text.is_empty() {
            return Ok(vec![]);
        }
        self.ids.extend(self.tokenizer.encode(&format!("<|im_start|>{role}\n"))?);
        let blocks = visuals.iter().map(|visual| self.block(*visual)).collect();
        self.ids.extend(self.tokenizer.encode(text)?);
        Ok(blocks)
    }

    fn block(&mut self, visual: Visual) -> VisualBlock {
        let SpecialTokens { vision_start, vision_end, image_pad, video_pad, .. } =
            self.tokenizer.special();
        let pad = match visual.kind {
            VisualKind::Image => image_pad,
            VisualKind::Video => video_pad,
        };
        self.ids.push(vision_start);
        let start = self.ids.len();
        self.ids.extend(std::iter::repeat_n(pad, visual.grid.tokens()));
        self.ids.push(vision_end);
        VisualBlock { visual, start }
    }
}

#[cfg(test)]
mod tests;
