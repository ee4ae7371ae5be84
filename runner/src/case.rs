//! Case files (spec H.1): what to generate, as one JSON object.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A case file; generation parameters come from the command line. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Task name (H.2).
    pub task_type: Option<String>,
    /// Guidance mode (G.4, G.5).
    pub guidance_mode: Option<String>,
    /// What to make; required.
    pub prompt: String,
    /// Source videos, one path or several.
    #[serde(default)]
    pub video: OneOrMany,
    /// A source image.
    pub image: Option<PathBuf>,
    /// Reference images.
    #[serde(default)]
    pub images: Vec<PathBuf>,
    /// Where the result goes.
    pub output: Option<PathBuf>,
}

/// A path or a list of paths.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One path.
    One(PathBuf),
    /// Several, in order.
    Many(Vec<PathBuf>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(vec![])
    }
}

impl OneOrMany {
    /// All paths in order.
    pub fn into_vec(self) -> Vec<PathBuf> {
        match self {
            Self::One(path) => vec![path],
            Self::Many(paths) => paths,
        }
    }
}

/// Largest case file that is read.
const MAX_BYTES: u64 = 4 << 20;

fn read_bounded(path: &Path) -> Result<Vec<u8>, CaseError> {
    let io = |source| CaseError::Io { path: path.into(), source };
    let file = File::open(path).map_err(io)?;
    let mut bytes = vec![];
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(CaseError::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

impl Case {
    /// Reads a case file; media paths are taken as they stand, from the working folder.
    pub fn read(path: &Path) -> Result<Self, CaseError> {
        let json = |source| CaseError::Json { path: path.into(), source };
        serde_json::from_slice(&read_bounded(path)?).map_err(json)
    }

    /// Reads the cases of an `--inputs` file: one a line in `.jsonl`, else a JSON array.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, CaseError> {
        let bytes = read_bounded(path)?;
        let cases = if path.extension().is_some_and(|extension| extension == "jsonl") {
            let lines = bytes.split(|&byte| byte == b'\n').enumerate();
            let full = lines.filter(|(_, text)| !text.trim_ascii().is_empty());
            full.map(|(index, text)| Self::from_line(path, index, text)).collect()
        } else {
            let json = |source| CaseError::Json { path: path.into(), source };
            serde_json::from_slice::<Vec<Self>>(&bytes).map_err(json)
        };
        match cases {
            Ok(cases) if cases.is_empty() => Err(CaseError::NoCase { path: path.into() }),
            cases => cases,
        }
    }

    fn from_line(path: &Path, index: usize, text: &[u8]) -> Result<Self, CaseError> {
        let json = |source| CaseError::Line { path: path.into(), line: index + 1, source };
        serde_json::from_slice(text).map_err(json)
    }
}

/// What is wrong with a case file.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// It could not be read.
    #[error("case file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is far larger than any case.
    #[error("case file {}: larger than 4 MiB; a case is one small JSON object", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It does not parse, or has a key that no case has.
    #[error("case file {}: {source}; see spec H.1 or examples/", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A line of a file of cases does not parse, or has a key that no case has.
    #[error("case file {}, line {line}: {source}; see spec H.1 or examples/", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Column and reason.
        source: serde_json::Error,
    },
    /// A file of cases has none.
    #[error("case file {}: no case in it; expected an array of objects, or one a line in .jsonl", path.display())]
    NoCase {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Case, CaseError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Case::read(file.path())
    }

    #[test]
    fn a_video_is_one_path_or_a_list() {
        let one = read(r#"{"prompt": "p", "video": "a.mp4"}"#).unwrap();
        let many = read(r#"{"prompt": "p", "video": ["a.mp4"]}"#).unwrap();
        assert_eq!(one.video.into_vec(), many.video.into_vec());
    }

    #[test]
    fn many_cases_come_as_an_array_or_one_a_line() {
        let read = |suffix: &str, text: &str| {
            let file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Case::read_all(file.path())
        };
        let array = read(".json", r#"[{"prompt": "a"}, {"prompt": "b"}]"#).unwrap();
        let lines = read(".jsonl", "{\"prompt\": \"a\"}\r\n\n{\"prompt\": \"b\"}").unwrap();
        assert_eq!(array, lines);
        let error = read(".jsonl", "{\"prompt\": \"a\"}\n\n{\"promt\": \"b\"}").unwrap_err();
        assert!(error.to_string().contains("line 3: unknown field `promt`"), "{error}");
        assert!(read(".json", "[]").unwrap_err().to_string().contains("no case"));
        assert!(read(".jsonl", "\n \n").unwrap_err().to_string().contains("no case"));
        assert!(read(".json", r#"{"prompt": "a"}"#).is_err());
        let large = " ".repeat(MAX_BYTES as usize + 1);
        assert!(read(".json", &large).unwrap_err().to_string().contains("4 MiB"));
    }

    #[test]
    fn unknown_keys_and_nonsense_are_named() {
        let error = read(r#"{"prompt": "p", "promt": "q"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `promt`"), "{error}");
        assert!(read("[]").is_err());
        assert!(read(r#"{"task_type": "t2v"}"#).unwrap_err().to_string().contains("prompt"));
        let deep = "[".repeat(100_000);
        assert!(read(&format!(r#"{{"prompt": {deep}"#)).is_err());
    }
}
