//! Everything that can go wrong between a prompt and its rewriting. No variant holds the key.

use crate::media::MediaError;
use crate::text::TextError;

/// Why a prompt could not be enhanced.
#[derive(Debug, thiserror::Error)]
pub enum EnhancerError {
    /// A setting is absent.
    #[error("prompt enhancer: no {setting}; set {source_names}")]
    Missing {
        /// What is missing.
        setting: &'static str,
        /// Where it is looked for.
        source_names: &'static str,
    },
    /// A setting cannot be used; its value is not shown, for it may be secret.
    #[error("prompt enhancer: {source_name} {problem}")]
    Setting {
        /// The variable or flag.
        source_name: &'static str,
        /// What is wrong, and what is expected.
        problem: &'static str,
    },
    /// A task without an instruction.
    #[error("prompt enhancer: no instruction for the task {found:?}; see `bernini run --help`")]
    Task {
        /// The task.
        found: String,
    },
    /// More pictures than a request should carry.
    #[error("prompt enhancer: {found} pictures, expected at most {limit}; give fewer sources")]
    TooManyPictures {
        /// Source frames and references together.
        found: usize,
        /// Most that are sent.
        limit: usize,
    },
    /// A source cannot be read.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// A picture cannot be encoded.
    #[error("prompt enhancer: [Image {number}] cannot be encoded as png: {source}; check its size")]
    Picture {
        /// Its number in the request, from 1.
        number: usize,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// The prompt, or its rewriting, is no prompt that we accept.
    #[error("prompt enhancer: {0}")]
    Text(#[from] TextError),
    /// The connection fails or breaks.
    #[error("prompt enhancer: {url}: {problem}; check the base URL and the network")]
    Connection {
        /// Where the request went.
        url: String,
        /// What the client said.
        problem: String,
    },
    /// No complete answer in time.
    #[error("prompt enhancer: {url}: no answer within {seconds} s; is the server overloaded?")]
    Timeout {
        /// Where the request went.
        url: String,
        /// Time that the request was given.
        seconds: f64,
    },
    /// The server refuses.
    #[error("prompt enhancer: {url}: HTTP status {status}: {message}")]
    Status {
        /// Where the request went.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What to do, or what the server said, without control characters and without the key.
        message: String,
    },
    /// The answer is not one short chat completion.
    #[error("prompt enhancer: {url}: {problem}; does the server speak /chat/completions?")]
    Reply {
        /// Where the request went.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl EnhancerError {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}
