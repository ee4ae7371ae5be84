//! Qwen's byte-level BPE from the checkpoint's own files (spec A.2, D.1, K.3).

mod files;
#[cfg(test)]
pub(super) mod tests;

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use files::{Definition, PATTERN};

/// Turns text into token ids; a special token written out is that token.
#[derive(Debug)]
pub struct QwenTokenizer {
    file: PathBuf,
    tokenizer: Tokenizer,
    special: SpecialTokens,
}

/// Ids of the tokens that build the planner's stream (spec D.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<|im_start|>`
    pub im_start: i64,
    /// `<|vision_start|>`
    pub vision_start: i64,
    /// `<|vision_end|>`
    pub vision_end: i64,
    /// `<|image_pad|>`
    pub image_pad: i64,
    /// `<|video_pad|>`
    pub video_pad: i64,
}

impl QwenTokenizer {
    /// Reads `tokenizer.json` of `folder`, or, where there is none, `vocab.json`, `merges.txt` and
    /// the added tokens of `tokenizer_config.json`.
    ///
    /// # Errors
    /// Files that cannot be read, are too large, are no JSON, or define another tokenizer than
    /// Qwen's kind: byte-level BPE with every byte, merges within the vocabulary, NFC or no
    /// normaliser, Qwen's split pattern, the special tokens that the planner writes.
    pub fn from_folder(folder: &Path) -> Result<Self, QwenTokenizerError> {
        let definition = files::read(folder)?;
        let file = definition.file.clone();
        let missing = |name: &'static str| QwenTokenizerError::Definition {
            file: file.clone(),
            field: "added_tokens".into(),
            expected: name.into(),
            found: "none".into(),
        };
        let id = |name| definition.added_id(name).map(i64::from).ok_or_else(|| missing(name));
        let special = SpecialTokens {
            im_start: id("<|im_start|>")?,
            vision_start: id("<|vision_start|>")?,
            vision_end: id("<|vision_end|>")?,
            image_pad: id("<|image_pad|>")?,
            video_pad: id("<|video_pad|>")?,
        };
        let failed = |source| QwenTokenizerError::Library { file: file.clone(), source };
        let tokenizer = build(definition).map_err(failed)?;
        Ok(Self { file, tokenizer, special })
    }

    /// Ids of `text`; nothing is added before or after it.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>, QwenTokenizerError> {
        let failed = |source| QwenTokenizerError::Library { file: self.file.clone(), source };
        let encoding = self.tokenizer.encode_fast(text, false).map_err(failed)?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }
}

fn build(definition: Definition) -> tokenizers::Result<Tokenizer> {
    let Definition { vocab, merges, added, nfc, .. } = definition;
    let vocab: Vocab = vocab.into_iter().collect();
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build()?;
    let pattern = SplitPattern::Regex(PATTERN.into());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_normalizer(nfc.then_some(NFC))?;
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])));
    tokenizer.add_tokens(added.into_iter().map(|(_, token)| token))?;
    Ok(tokenizer)
}

/// Why the tokenizer's files were refused, or a text could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum QwenTokenizerError {
    /// A file could not be read.
    #[error("tokenizer {}: {source}; check the export's config/ folder", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that no tokenizer needs.
    #[error("tokenizer {}: {found} bytes, expected at most {limit}; copy it again", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        found: u64,
        /// Largest size that is read.
        limit: u64,
    },
    /// A file that is no JSON, or JSON of another shape.
    #[error("tokenizer {}: {source}; copy it again from the checkpoint", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A field that no tokenizer of Qwen's kind has.
    #[error(
        "tokenizer {}: {field} is {found}, expected {expected}; copy the files of Qwen2.5-VL",
        file.display()
    )]
    Definition {
        /// The file.
        file: PathBuf,
        /// Which field.
        field: String,
        /// What it may hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// The tokenizer library fails.
    #[error("tokenizer {}: {source}; copy it again from the checkpoint", file.display())]
    Library {
        /// The file.
        file: PathBuf,
        /// Its own words.
        source: tokenizers::Error,
    },
}
