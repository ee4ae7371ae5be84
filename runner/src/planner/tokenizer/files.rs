//! Reads and checks the files of a byte-level BPE tokenizer, so that the library sees sane input.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::QwenTokenizerError;

/// How Qwen splits text into words.
pub(super) const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Largest file that is read: the released tokenizer.json has 7 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Every id is below this: the released tokenizer has 151,665.
const MAX_IDS: u32 = 1 << 20;
/// Most added tokens: the released tokenizer has 22.
const MAX_ADDED: usize = 4096;

/// What the files say, checked.
#[derive(Debug)]
pub(super) struct Definition {
    /// The file that errors name.
    pub file: PathBuf,
    /// Id of every piece, the added tokens included: the library takes their ids from here.
    pub vocab: HashMap<String, u32>,
    /// Pairs that merge, the first pair first.
    pub merges: Vec<(String, String)>,
    /// Added tokens by id.
    pub added: Vec<(u32, AddedToken)>,
    /// Whether text is brought to Unicode's NFC.
    pub nfc: bool,
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<WithId>,
    normalizer: Value,
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct WithId {
    id: u32,
    #[serde(flatten)]
    token: Added,
}

#[derive(Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    r#type: String,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    /// Flags that change the ids of a text.
    #[serde(flatten)]
    flags: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

#[derive(Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    added_tokens_decoder: BTreeMap<u32, Added>,
}

/// Reads the tokenizer of `folder`.
pub(super) fn read(folder: &Path) -> Result<Definition, QwenTokenizerError> {
    let file = folder.join("tokenizer.json");
    let definition = if file.exists() { read_one(&file)? } else { read_parts(folder)? };
    definition.check()?;
    Ok(definition)
}

fn read_one(file: &Path) -> Result<Definition, QwenTokenizerError> {
    let json: TokenizerJson = parse(file)?;
    let wrong = |field: &str, expected: &str, found: &Value| {
        Err(error(file, field, expected, &shown(&found.to_string())))
    };
    let kind = json.normalizer.get("type").and_then(Value::as_str);
    if !(json.normalizer.is_null() || kind == Some("NFC")) {
        return wrong("normalizer", "NFC or null", &json.normalizer);
    }
    if !splits_like_qwen(&json.pre_tokenizer) {
        return wrong("pre_tokenizer", "Qwen's pattern, then ByteLevel", &json.pre_tokenizer);
    }
    if json.model.r#type != "BPE" {
        return wrong("model.type", "BPE", &json.model.r#type.into());
    }
    for flag in ["dropout", "unk_token", "byte_fallback", "ignore_merges"] {
        match json.model.flags.get(flag) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(found) => return wrong(&format!("model.{flag}"), "null or false", found),
        }
    }
    let pair = |merge| match merge {
        Merge::Pair(a, b) => Ok((a, b)),
        Merge::Line(line) => split_merge(file, &line),
    };
    let merges = json.model.merges.into_iter().map(pair).collect::<Result<_, _>>()?;
    let added = json.added_tokens.into_iter().map(|WithId { id, token }| (id, token));
    Definition::new(file, json.model.vocab, merges, added, !json.normalizer.is_null())
}

fn read_parts(folder: &Path) -> Result<Definition, QwenTokenizerError> {
    let file = folder.join("vocab.json");
    let vocab = parse(&file)?;
    let merges_file = folder.join("merges.txt");
    let bytes = read_bounded(&merges_file)?;
    let not_text = |_| error(&merges_file, "text", "UTF-8", "other bytes");
    let text = std::str::from_utf8(&bytes).map_err(not_text)?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#version"));
    let merges = lines.map(|line| split_merge(&merges_file, line)).collect::<Result<_, _>>()?;
    let config: TokenizerConfig = parse(&folder.join("tokenizer_config.json"))?;
    Definition::new(&file, vocab, merges, config.added_tokens_decoder.into_iter(), true)
}

impl Definition {
    fn new(
        file: &Path,
        mut vocab: HashMap<String, u32>,
        merges: Vec<(String, String)>,
        added: impl Iterator<Item = (u32, Added)>,
        nfc: bool,
    ) -> Result<Self, QwenTokenizerError> {
        let added: Vec<(u32, AddedToken)> = added.map(|(id, token)| (id, token.into())).collect();
        for (id, token) in &added {
            let known = vocab.insert(token.content.clone(), *id);
            if let Some(known) = known.filter(|known| known != id) {
                let field = format!("id of {:?}", shown(&token.content));
                return Err(error(file, &field, &known.to_string(), &id.to_string()));
            }
        }
        Ok(Self { file: file.into(), vocab, merges, added, nfc })
    }

    /// Id of the added token `name`.
    pub fn added_id(&self, name: &str) -> Option<u32> {
        self.added.iter().find(|(_, token)| token.content == name).map(|(id, _)| *id)
    }

    fn check(&self) -> Result<(), QwenTokenizerError> {
        let fail = |field: &str, expected: &str, found: &str| {
            Err(error(&self.file, field, expected, &shown(found)))
        };
        let mut ids: Vec<u32> = self.vocab.values().copied().collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return fail("vocab", "one piece per id", &format!("two of id {}", pair[0]));
        }
        if let Some(id) = ids.last().filter(|&&id| id >= MAX_IDS) {
            return fail("vocab", &format!("ids below {MAX_IDS}"), &id.to_string());
        }
        let missing = |c: &char| !self.vocab.contains_key(c.encode_utf8(&mut [0; 4]) as &str);
        if let Some(c) = ByteLevel::alphabet().into_iter().find(missing) {
            return fail("vocab", "a piece for each of the 256 bytes", &format!("none for {c:?}"));
        }
        for (a, b) in &self.merges {
            let known = |piece: &str| self.vocab.contains_key(piece);
            if a.is_empty() || b.is_empty() || !known(a) || !known(b) || !known(&format!("{a}{b}"))
            {
                return fail("merges", "pieces of the vocabulary", &format!("{a:?} {b:?}"));
            }
        }
        if self.added.len() > MAX_ADDED {
            let expected = format!("at most {MAX_ADDED} tokens");
            return fail("added_tokens", &expected, &self.added.len().to_string());
        }
        match self.added.iter().find(|(_, token)| token.content.is_empty()) {
            Some((id, _)) => fail("added_tokens", "text", &format!("none for id {id}")),
            None => Ok(()),
        }
    }
}

impl From<Added> for AddedToken {
    fn from(token: Added) -> Self {
        let Added { content, single_word, lstrip, rstrip, normalized, special } = token;
        Self { content, single_word, lstrip, rstrip, normalized, special }
    }
}

fn splits_like_qwen(pre_tokenizer: &Value) -> bool {
    let at = |path: &str| pre_tokenizer.pointer(path).unwrap_or(&Value::Null);
    at("/type") == "Sequence"
        && at("/pretokenizers").as_array().is_some_and(|steps| steps.len() == 2)
        && at("/pretokenizers/0/type") == "Split"
        && at("/pretokenizers/0/pattern/Regex") == PATTERN
        && at("/pretokenizers/0/behavior") == "Isolated"
        && at("/pretokenizers/0/invert") == false
        && at("/pretokenizers/1/type") == "ByteLevel"
        && at("/pretokenizers/1/add_prefix_space") == false
        && at("/pretokenizers/1/use_regex") == false
}

fn split_merge(file: &Path, line: &str) -> Result<(String, String), QwenTokenizerError> {
    let parts = line.split_once(' ').filter(|(_, b)| !b.contains(' '));
    let (a, b) = parts.ok_or_else(|| error(file, "merges", "two pieces a line", &shown(line)))?;
    Ok((a.into(), b.into()))
}

fn parse<T: DeserializeOwned>(file: &Path) -> Result<T, QwenTokenizerError> {
    let json = |source| QwenTokenizerError::Json { file: file.into(), source };
    serde_json::from_slice(&read_bounded(file)?).map_err(json)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, QwenTokenizerError> {
    let io = |source| QwenTokenizerError::Io { file: path.into(), source };
    let file = File::open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    if found > MAX_FILE_BYTES {
        let file = path.into();
        return Err(QwenTokenizerError::TooLarge { file, found, limit: MAX_FILE_BYTES });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

fn error(file: &Path, field: &str, expected: &str, found: &str) -> QwenTokenizerError {
    let (field, expected, found) = (field.into(), expected.into(), found.into());
    QwenTokenizerError::Definition { file: file.into(), field, expected, found }
}

/// The beginning of hostile text.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
