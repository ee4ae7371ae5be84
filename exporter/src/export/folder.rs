//! The state of an export folder, and the journals that make an export resumable.
//!
//! A finished weights file has a journal `<file>.done` beside it until the manifest, which is
//! written last, takes its place. `export.partial.json` marks a folder as ours before that.

use std::path::Path;

use bernini_graphs::manifest::{EXPORT_MANIFEST, FileEntry, PrecisionName};
use serde::{Deserialize, Serialize};

use super::ExportError;
use crate::checkpoint::files;
use crate::output::{self, at};

/// Marks the folder of an export that is not finished.
pub const MARKER: &str = "export.partial.json";
/// End of a journal's name.
const JOURNAL: &str = ".done";

/// What a folder is an export of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Fingerprint of the checkpoint.
    pub source: String,
    /// Precision of the graphs.
    pub precision: PrecisionName,
}

/// What the target folder holds.
pub enum State {
    /// Nothing, or a part of this export: write what is missing.
    Open,
    /// A manifest.
    Finished,
}

/// Looks at the target, and refuses what is neither empty nor a part of this export.
pub fn state(root: &Path, identity: &Identity) -> Result<State, ExportError> {
    if root.join(EXPORT_MANIFEST).exists() {
        return Ok(State::Finished);
    }
    let marker = root.join(MARKER);
    if marker.exists() {
        check(root, &files::json(&marker)?, identity)?;
        return Ok(State::Open);
    }
    let empty = !root.exists() || {
        let mut entries = std::fs::read_dir(root).map_err(at(root))?;
        entries.next().is_none()
    };
    if empty { Ok(State::Open) } else { Err(ExportError::Foreign { path: root.into() }) }
}

/// Refuses an export of something else.
pub fn check(root: &Path, found: &Identity, expected: &Identity) -> Result<(), ExportError> {
    let fields = [
        ("source", expected.source.clone(), found.source.clone()),
        ("precision", expected.precision.to_string(), found.precision.to_string()),
    ];
    match fields.into_iter().find(|(_, expected, found)| expected != found) {
        None => Ok(()),
        Some((field, expected, found)) => {
            Err(ExportError::OtherExport { path: root.into(), field, expected, found })
        }
    }
}

/// Marks the folder as the place of this export.
pub fn mark(root: &Path, identity: &Identity) -> Result<(), ExportError> {
    let text = serde_json::to_vec(identity).expect("invariant: two strings are JSON");
    output::write(root, MARKER, &text)?;
    Ok(())
}

/// Removes marker and journals; the manifest speaks for the folder now.
pub fn clean(root: &Path) {
    let entries = std::fs::read_dir(root).into_iter().chain(std::fs::read_dir(root.join("tables")));
    for path in entries.flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name == MARKER || name.ends_with(JOURNAL)) {
            // A leftover does no harm: the next run removes it.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    source: String,
    plan: String,
    file: FileEntry,
}

/// The file `name` if a run before has finished it from the same source by the same plan.
pub fn finished(root: &Path, name: &str, source: &str, plan: &str) -> Option<FileEntry> {
    let journal: Journal = files::json(&root.join(format!("{name}{JOURNAL}"))).ok()?;
    let (_, bytes) = files::open(&root.join(name)).ok()?;
    let same = journal.source == source && journal.plan == plan && journal.file.file == name;
    (same && journal.file.bytes == bytes).then_some(journal.file)
}

/// Records that `file` is finished.
pub fn record(root: &Path, source: &str, plan: &str, file: &FileEntry) -> Result<(), ExportError> {
    let journal = Journal { source: source.into(), plan: plan.into(), file: file.clone() };
    let text = serde_json::to_vec(&journal).expect("invariant: strings and numbers are JSON");
    output::write(root, &format!("{}{JOURNAL}", file.file), &text)?;
    Ok(())
}
