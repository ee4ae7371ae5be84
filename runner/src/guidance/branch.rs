//! One forward of the DiT: which sources and which text the target attends to.

use std::fmt;

/// Which clean sources are appended to the noisy tokens (S in ε(S, c) of G.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceSet {
    /// No source: e0.
    None,
    /// The first video only (V of the renderer-only model), with its source id of the request.
    FirstVideo,
    /// Every video (V of the full model); source ids of the whole request (B.9).
    Videos,
    /// Every image and no video (I); source ids count from 1.
    Images,
    /// Every video and image (VI); source ids of the whole request (B.9).
    All,
}

/// Which text the forward attends to; the full model puts the planner's rows behind it (D.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The negative prompt: `wotxt_wovit`.
    Negative,
    /// The prompt: `wtxt_wovit`.
    Positive,
    /// The prompt and the planned target: `wtxt_wvit`, full model only.
    Planned,
}

/// One forward ε(sources, context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Sources that the target attends to.
    pub sources: SourceSet,
    /// Text that the target attends to.
    pub context: Context,
}

/// How many sources a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Number of source videos.
    pub videos: usize,
    /// Number of source images.
    pub images: usize,
}

impl SourceSet {
    /// The one name of sets that hold the same tokens with the same ids: without images and with
    /// one video, VI is V.
    pub fn resolve(self, available: Available) -> Self {
        match (self, available.videos, available.images) {
            (Self::FirstVideo | Self::Videos, 0, _) | (Self::Images, _, 0) => Self::None,
            (Self::All, 0, 0) => Self::None,
            (Self::All, 0, _) => Self::Images,
            (Self::Videos, 1, _) | (Self::All, 1, 0) => Self::FirstVideo,
            (Self::Videos, _, 0) => Self::All,
            (set, ..) => set,
        }
    }
}

impl fmt::Display for Branch {
    /// Sources and text, such as `first_video+positive`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = match self.sources {
            SourceSet::None => "none",
            SourceSet::FirstVideo => "first_video",
            SourceSet::Videos => "videos",
            SourceSet::Images => "images",
            SourceSet::All => "all",
        };
        let context = match self.context {
            Context::Negative => "negative",
            Context::Positive => "positive",
            Context::Planned => "planned",
        };
        write!(f, "{sources}+{context}")
    }
}

impl Branch {
    /// The same branch with its source set resolved.
    pub(super) fn resolve(self, available: Available) -> Self {
        Self { sources: self.sources.resolve(available), ..self }
    }
}
