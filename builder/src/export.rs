//! Opens an export folder as far as engines need it: manifest, file sizes, the planner's config.

use std::path::{Path, PathBuf};

use bernini_graphs::config::{ConfigError, VisionConfig};
use bernini_graphs::manifest::{
    EXPORT_MANIFEST, EXPORT_SCHEMA, ExportManifest, FileEntry, PrecisionName, SubmoduleEntry,
    Variant,
};
use bernini_graphs::{Component, Submodule};

use crate::files::{self, FileError};

/// Window of the released vision tower (spec A.8), in pixels.
const RELEASED_WINDOW: usize = 112;

/// An export folder whose manifest agrees with the sizes of its files.
#[derive(Clone, Debug)]
pub struct Export {
    folder: PathBuf,
    manifest: ExportManifest,
}

impl Export {
    /// Reads the manifest and checks that every file is there with its size.
    ///
    /// # Errors
    /// No export, one of another schema or in f32, which engines do not come in, and files that
    /// are not as the manifest says.
    pub fn open(folder: &Path) -> Result<Self, ExportError> {
        let path = folder.join(EXPORT_MANIFEST);
        if !path.is_file() {
            return Err(ExportError::NotAnExport { folder: folder.into() });
        }
        let manifest: ExportManifest = files::json(&path)?;
        if manifest.schema != EXPORT_SCHEMA {
            return Err(ExportError::Schema { path, found: manifest.schema });
        }
        if manifest.precision.is_for_cpu() {
            let found = manifest.precision;
            return Err(ExportError::ForCpu { folder: folder.into(), found });
        }
        if let Some(stem) = manifest.submodules.keys().find(|s| Submodule::from_stem(s).is_none()) {
            return Err(ExportError::UnknownSubmodule { path, stem: stem.clone() });
        }
        let graphs = manifest.submodules.values().flat_map(|entry| [&entry.graph, &entry.weights]);
        for entry in graphs.chain(manifest.tables.values()).chain(&manifest.config) {
            files::check_size(folder, entry)?;
        }
        Ok(Self { folder: folder.into(), manifest })
    }

    /// The manifest.
    pub fn manifest(&self) -> &ExportManifest {
        &self.manifest
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of its submodules.
    pub(crate) fn submodule(&self, submodule: Submodule) -> Option<&SubmoduleEntry> {
        self.manifest.submodules.get(submodule.stem())
    }

    /// Files that an engine folder has too: tables and configs.
    pub(crate) fn carried(&self) -> impl Iterator<Item = &FileEntry> {
        self.manifest.tables.values().chain(&self.manifest.config)
    }

    /// Pixels along a side of the vision tower's windows, where the model has a planner. An export
    /// of chosen submodules without the tower has no config of it, and no use for the number.
    pub(crate) fn vision_window(&self) -> Result<Option<usize>, ExportError> {
        let file = Component::Vision.config_file();
        if self.manifest.variant == Variant::Renderer {
            return Ok(None);
        }
        if self.manifest.config.iter().all(|entry| entry.file != file) {
            return Ok(Some(RELEASED_WINDOW));
        }
        let path = self.folder.join(&file);
        let config: VisionConfig = files::json(&path)?;
        config.validate().map_err(|source| ExportError::Config { path, source })?;
        Ok(Some(config.window_size))
    }
}

/// What is wrong with an export folder.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No manifest.
    #[error(
        "{} is no export: it has no {EXPORT_MANIFEST}; make one with `bernini export`",
        folder.display()
    )]
    NotAnExport {
        /// The folder.
        folder: PathBuf,
    },
    /// Another version of the manifest.
    #[error(
        "{}: schema {found}, expected {EXPORT_SCHEMA}; export the checkpoint again",
        path.display()
    )]
    Schema {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// Graphs for the CPU.
    #[error(
        "{}: precision {found}, expected bf16 or fp8; engines are made of `bernini export \
         --precision bf16` or `fp8`",
        folder.display()
    )]
    ForCpu {
        /// The folder.
        folder: PathBuf,
        /// Its precision.
        found: PrecisionName,
    },
    /// A submodule that this version does not know.
    #[error("{}: unknown submodule {stem:?}; export the checkpoint again", path.display())]
    UnknownSubmodule {
        /// The manifest.
        path: PathBuf,
        /// Its name.
        stem: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A config value that the model cannot have.
    #[error("{}: {source}; export the checkpoint again", path.display())]
    Config {
        /// The config.
        path: PathBuf,
        /// Key, expected and found.
        source: ConfigError,
    },
}
