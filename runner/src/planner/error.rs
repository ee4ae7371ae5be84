//! Why a plan could not be made.

use super::{GeometryError, QwenTokenizerError};
use crate::backend::BackendError;
use crate::media::{MediaError, VitError};
use crate::text_encoder::TextEncoderError;

/// Why the planner gave up.
#[derive(Debug, thiserror::Error)]
pub enum PlannerError {
    /// A graph failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A text could not be tokenised.
    #[error(transparent)]
    Tokenizer(#[from] QwenTokenizerError),
    /// An embedding table.
    #[error(transparent)]
    Table(#[from] TextEncoderError),
    /// A source that the vision tower does not take.
    #[error(transparent)]
    Vit(#[from] VitError),
    /// A target without a size.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A source that could not be read.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// Ctrl-C.
    #[error("interrupted while planning; nothing was written")]
    Interrupted,
}
