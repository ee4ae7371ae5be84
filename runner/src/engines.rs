//! Opens an engine folder: the manifest and its files. Plans are read when they are loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bernini_graphs::Submodule;
use bernini_graphs::engines::{ENGINES_MANIFEST, ENGINES_SCHEMA, EngineEntry, EnginesManifest};
use bernini_graphs::manifest::FileEntry;

use crate::package::{FolderKind, Listed, Package, PackageError, check_file, read_json};

/// An engine folder whose manifest agrees with its files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engines {
    folder: PathBuf,
    manifest: Arc<EnginesManifest>,
}

impl Engines {
    /// Reads the manifest and checks that every file is there with its size.
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        let (kind, path) = (FolderKind::Engines, folder.join(ENGINES_MANIFEST));
        if !path.is_file() {
            return Err(PackageError::Neither { folder: folder.into() });
        }
        let manifest: EnginesManifest = read_json(kind, &path)?;
        if manifest.schema != ENGINES_SCHEMA {
            let (expected, found) = (ENGINES_SCHEMA, manifest.schema);
            return Err(PackageError::Schema { kind, path, expected, found });
        }
        let plans = manifest.engines.values().map(|engine| &engine.plan);
        for entry in plans.chain(manifest.tables.values()).chain(&manifest.config) {
            check_file(kind, folder, entry)?;
        }
        Ok(Self { folder: folder.into(), manifest: Arc::new(manifest) })
    }

    /// The manifest.
    pub fn manifest(&self) -> &EnginesManifest {
        &self.manifest
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The engine of a submodule, if the folder has one.
    pub fn engine(&self, submodule: Submodule) -> Option<&EngineEntry> {
        self.manifest.engines.get(submodule.stem())
    }

    /// Where a listed file lies.
    pub fn path(&self, entry: &FileEntry) -> PathBuf {
        self.folder.join(&entry.file)
    }

    /// Tables, configs and tokenizer files; a folder of chosen engines may lack some.
    pub fn package(&self) -> Result<Package, PackageError> {
        Package::read(Listed {
            kind: FolderKind::Engines,
            folder: self.folder.clone(),
            variant: self.manifest.variant,
            tables: self.manifest.tables.clone(),
            config: self.manifest.config.clone(),
        })
    }
}
