//! Opens an export folder: the manifest, its files, its configs. Nothing else is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bernini_graphs::manifest::{EXPORT_MANIFEST, EXPORT_SCHEMA, ExportManifest, FileEntry};
use bernini_graphs::models::Configs;

use crate::package::{FolderKind, Listed, Package, PackageError, check_file, read_json};

/// An export folder whose manifest agrees with its files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Export {
    folder: PathBuf,
    manifest: Arc<ExportManifest>,
    package: Package,
}

impl Export {
    /// Reads the manifest and checks that every file is there with its size.
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        let (kind, path) = (FolderKind::Export, folder.join(EXPORT_MANIFEST));
        if !path.is_file() {
            return Err(PackageError::Neither { folder: folder.into() });
        }
        let manifest: ExportManifest = read_json(kind, &path)?;
        if manifest.schema != EXPORT_SCHEMA {
            let (expected, found) = (EXPORT_SCHEMA, manifest.schema);
            return Err(PackageError::Schema { kind, path, expected, found });
        }
        for entry in files(&manifest) {
            check_file(kind, folder, entry)?;
        }
        let package = Package::read(Listed {
            kind,
            folder: folder.into(),
            variant: manifest.variant,
            tables: manifest.tables.clone(),
            config: manifest.config.clone(),
        })?;
        Ok(Self { folder: folder.into(), manifest: Arc::new(manifest), package })
    }

    /// The manifest.
    pub fn manifest(&self) -> &ExportManifest {
        &self.manifest
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tables, configs and tokenizer files.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// The components' configs.
    pub fn configs(&self) -> &Configs {
        self.package.configs()
    }

    /// Timestep, divided by 1000, at which the low-noise expert takes over.
    pub fn boundary_ratio(&self) -> f64 {
        self.package.boundary_ratio()
    }

    /// Where a listed file lies.
    pub fn path(&self, entry: &FileEntry) -> PathBuf {
        self.folder.join(&entry.file)
    }

    /// Refuses what ONNX Runtime on CPU cannot compute.
    pub fn require_cpu(&self) -> Result<(), PackageError> {
        let found = self.manifest.precision;
        match found.is_for_cpu() {
            true => Ok(()),
            false => Err(PackageError::Precision { folder: self.folder.clone(), found }),
        }
    }
}

impl From<Export> for Package {
    fn from(export: Export) -> Self {
        export.package
    }
}

/// Every file that the manifest lists.
fn files(manifest: &ExportManifest) -> impl Iterator<Item = &FileEntry> {
    let graphs = manifest.submodules.values().flat_map(|entry| [&entry.graph, &entry.weights]);
    graphs.chain(manifest.tables.values()).chain(&manifest.config)
}
