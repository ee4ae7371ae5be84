//! Prompts: limits, cleaning (spec E.5) and T5 tokens (spec E.3, K.3).

mod charsmap;
mod clean;
mod html;
mod normalizer;
mod prefixes;
mod spiece;
mod tokenizer;

pub use clean::clean;
pub use html::unescape;
pub use tokenizer::{EOS_ID, MAX_TOKENS, PAD_ID, T5Tokenizer};

use std::path::PathBuf;

/// Longest accepted prompt in bytes of UTF-8; 512 tokens are a few kilobytes.
pub const MAX_PROMPT_BYTES: usize = 1_000_000;

/// Why a prompt or a tokenizer file was refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TextError {
    #[error("{field} is empty; describe what to generate")]
    Empty { field: &'static str },
    #[error("{field} has {found} bytes, expected at most {MAX_PROMPT_BYTES}; shorten it")]
    TooLong { field: &'static str, found: usize },
    #[error("{field} holds the control character U+{code:04X} at byte {offset}; remove it")]
    Control { field: &'static str, code: u32, offset: usize },
    #[error("cannot read tokenizer {file}: {source}; check the export's config/ folder")]
    Io { file: PathBuf, source: std::io::Error },
    #[error("tokenizer {file}: {found} bytes, expected at most {limit}; is it a spiece.model?")]
    FileTooLarge { file: PathBuf, limit: u64, found: u64 },
    #[error("tokenizer {file} is not a SentencePiece model: {source}; copy spiece.model again")]
    Protobuf { file: PathBuf, source: prost::DecodeError },
    #[error(
        "tokenizer {file}: {field} is {found}, expected {expected}; copy spiece.model of UMT5 again"
    )]
    Model { file: PathBuf, field: String, expected: String, found: String },
}

/// Checks a prompt before anything is loaded; `field` names it in the error.
///
/// Tab, line feed and carriage return are allowed, and so are U+0080 to U+009F, which `clean`
/// repairs; every other control character is refused. A negative prompt may be empty: do not
/// call this for one that is.
///
/// # Errors
/// Empty or blank text, more than [`MAX_PROMPT_BYTES`], NUL or another control character.
pub fn check_prompt(field: &'static str, text: &str) -> Result<(), TextError> {
    if text.len() > MAX_PROMPT_BYTES {
        return Err(TextError::TooLong { field, found: text.len() });
    }
    if text.chars().all(char::is_whitespace) {
        return Err(TextError::Empty { field });
    }
    let refused = |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r');
    match text.char_indices().find(|&(_, c)| refused(c)) {
        Some((offset, c)) => Err(TextError::Control { field, code: c.into(), offset }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_prompts_pass() {
        for text in ["a cat", " 猫\t\r\n", "c1 \u{93}quoted\u{94}", &"x".repeat(MAX_PROMPT_BYTES)]
        {
            check_prompt("prompt", text).unwrap();
        }
    }

    #[test]
    fn blank_overlong_and_control_prompts_are_named() {
        for text in ["", " \n\t", "\u{3000}"] {
            assert!(matches!(check_prompt("prompt", text), Err(TextError::Empty { .. })));
        }
        let long = "é".repeat(MAX_PROMPT_BYTES / 2 + 1);
        assert!(matches!(check_prompt("prompt", &long), Err(TextError::TooLong { .. })));
        for (text, code) in [("é\0", 0), ("é\u{1b}[0m", 0x1b), ("é\u{7f}", 0x7f)] {
            let error = check_prompt("prompt", text).unwrap_err();
            assert!(matches!(error, TextError::Control { offset: 2, code: c, .. } if c == code));
        }
    }
}
