//! Files: read with bounds, checked by size and hash, written so that a name never stands for half
//! a file.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use bernini_graphs::manifest::FileEntry;
use serde::de::DeserializeOwned;

/// Longest manifest or config, in bytes.
const MAX_JSON: u64 = 64 << 20;
/// Longest graph: what protobuf can hold. Weights are not in it.
pub(crate) const MAX_GRAPH: u64 = (2 << 30) - 1;
/// Bytes hashed at a time: enough for every core to have a share.
const HASH_CHUNK: usize = 8 << 20;
/// End of the name of a file that is being written.
pub(crate) const PARTIAL: &str = ".part";

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("{}: {source}; check space and permissions", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A JSON file that does not parse or has keys that do not belong there.
    #[error("{}: {reason}; make the folder again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        reason: String,
    },
    /// A graph that cannot be parsed.
    #[error("{}: not an ONNX model: {reason}; export the checkpoint again", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// A file that is too long to be ours.
    #[error("{}: {found} bytes, expected at most {limit}; make the folder again", path.display())]
    TooLarge {
        /// Largest size that is read.
        limit: u64,
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// A manifest that names a file outside its folder.
    #[error("{}: the manifest names {file:?}, which is not below the folder; write it again", folder.display())]
    Outside {
        /// The folder.
        folder: PathBuf,
        /// The name.
        file: String,
    },
    /// A file that is not there.
    #[error("{}: no such file; make the folder again", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file of another size than the manifest says.
    #[error("{}: {found} bytes, expected {expected}; make the folder again", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Size in the manifest.
        expected: u64,
        /// Size on disk.
        found: u64,
    },
    /// A file of other content than the manifest says.
    #[error("{}: blake3 {found}, expected {expected}; make the folder again", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the content.
        found: String,
    },
}

/// Attaches a path to an error of the operating system.
pub(crate) fn at(path: &Path) -> impl Fn(std::io::Error) -> FileError + '_ {
    |source| FileError::Io { path: path.into(), source }
}

/// Opens a regular file: `(file, size)`.
pub(crate) fn open(path: &Path) -> Result<(File, u64), FileError> {
    // Asked before opening: opening a pipe would wait for ever.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            Ok((File::open(path).map_err(at(path))?, metadata.len()))
        }
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(at(path)(source)),
        _ => Err(FileError::Missing { path: path.into() }),
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, found) = open(path)?;
    if found > limit {
        return Err(FileError::TooLarge { path: path.into(), found, limit });
    }
    let mut bytes = vec![];
    file.take(found).read_to_end(&mut bytes).map_err(at(path))?;
    Ok(bytes)
}

/// Reads a JSON file of bounded size.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let bytes = read(path, MAX_JSON)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| FileError::Json { path: path.into(), reason: error.to_string() })
}

/// Where a listed file lies, if it lies below the folder.
pub(crate) fn path(folder: &Path, file: &str) -> Result<PathBuf, FileError> {
    let plain = |part| matches!(part, Component::Normal(_));
    match !file.is_empty() && Path::new(file).components().all(plain) {
        true => Ok(folder.join(file)),
        false => Err(FileError::Outside { folder: folder.into(), file: file.into() }),
    }
}

/// Refuses a listed file that is missing or has another size.
pub(crate) fn check_size(folder: &Path, entry: &FileEntry) -> Result<PathBuf, FileError> {
    let path = path(folder, &entry.file)?;
    let (_, found) = open(&path)?;
    match found == entry.bytes {
        true => Ok(path),
        false => Err(FileError::Size { path, expected: entry.bytes, found }),
    }
}

/// Refuses a listed file that is missing, or has another size or content.
pub(crate) fn check(folder: &Path, entry: &FileEntry) -> Result<PathBuf, FileError> {
    let path = check_size(folder, entry)?;
    let found = hash(&path)?;
    match found == entry.blake3 {
        true => Ok(path),
        false => Err(FileError::Hash { path, expected: entry.blake3.clone(), found }),
    }
}

fn hash(path: &Path) -> Result<String, FileError> {
    let (mut file, bytes) = open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; HASH_CHUNK.min(usize::try_from(bytes).unwrap_or(HASH_CHUNK).max(1))];
    loop {
        match file.read(&mut chunk).map_err(at(path))? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            n => hasher.update_rayon(&chunk[..n]),
        };
    }
}

/// Writes `bytes` under `name` below `root`: temporary file, fsync, rename, fsync of the folder.
pub(crate) fn write(root: &Path, name: &str, bytes: &[u8]) -> Result<FileEntry, FileError> {
    publish(&path(root, name)?, |temporary| {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)
    })?;
    let blake3 = blake3::Hasher::new().update_rayon(bytes).finalize().to_hex().to_string();
    Ok(FileEntry { file: name.into(), bytes: bytes.len() as u64, blake3 })
}

/// Puts the file `from` under the name `to` as well: a hard link where the disk allows it, else a
/// copy.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), FileError> {
    publish(to, |temporary| match fs::hard_link(from, temporary) {
        Ok(()) => Ok(()),
        Err(_) => fs::copy(from, temporary).map(|_| ()),
    })
}

/// `write` makes the file under a temporary name, which is removed where anything fails.
fn publish(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(at(folder))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(PARTIAL);
    let temporary = PathBuf::from(temporary);
    // A hard link does not replace what a killed run has left.
    remove(&temporary)?;
    let written = write(&temporary)
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(at(path));
    if written.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(at(path)(source)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_was_written_is_checked_by_size_and_hash() {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        let entry = write(root, "deep/plan", b"seventeen bytes..").unwrap();
        assert_eq!(entry.blake3, blake3::hash(b"seventeen bytes..").to_hex().to_string());
        check(root, &entry).unwrap();
        let path = root.join("deep/plan");
        fs::write(&path, b"seventeen bytes.?").unwrap();
        assert!(matches!(check(root, &entry), Err(FileError::Hash { .. })));
        fs::write(&path, b"seventeen bytes.").unwrap();
        let size = check(root, &entry);
        assert!(matches!(size, Err(FileError::Size { expected: 17, found: 16, .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(check(root, &entry), Err(FileError::Missing { .. })));
        fs::create_dir(&path).unwrap();
        assert!(matches!(check(root, &entry), Err(FileError::Missing { .. })));
    }

    #[test]
    fn names_stay_below_their_folder() {
        for name in ["", "/etc/passwd", "../a", "a/../b", ".", "./a"] {
            assert!(matches!(path(Path::new("x"), name), Err(FileError::Outside { .. })), "{name}");
        }
        assert_eq!(path(Path::new("x"), "a/b").unwrap(), Path::new("x/a/b"));
    }

    #[test]
    fn links_replace_what_was_there() {
        let folder = TempDir::new().unwrap();
        let [from, to] = ["from", "in/to"].map(|name| folder.path().join(name));
        fs::write(&from, b"new").unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(&to, b"old").unwrap();
        fs::write(folder.path().join("in/to.part"), b"killed").unwrap();
        link(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path().join("in")).unwrap().count(), 1);
        assert!(link(&folder.path().join("nowhere"), &to).is_err());
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }

    #[test]
    fn json_is_bounded() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("long.json");
        File::create(&path).unwrap().set_len(MAX_JSON + 1).unwrap();
        assert!(matches!(json::<String>(&path), Err(FileError::TooLarge { .. })));
        fs::write(&path, "{").unwrap();
        assert!(matches!(json::<String>(&path), Err(FileError::Json { .. })));
    }
}
