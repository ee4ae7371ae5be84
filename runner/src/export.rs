//! Opens an export folder: the manifest, its files, its configs. Nothing else is read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component as PathPart, Path, PathBuf};
use std::sync::Arc;

use bernini_graphs::config::{
    ConfigError, ConnectorConfig, FlowHeadConfig, PlannerConfig, TextEncoderConfig,
    TransformerConfig, VaeConfig, VisionConfig,
};
use bernini_graphs::manifest::{
    EXPORT_MANIFEST, EXPORT_SCHEMA, ExportManifest, FileEntry, PACKAGE_CONFIG, PrecisionName,
    Variant,
};
use bernini_graphs::models::{Configs, PlannerConfigs};
use bernini_graphs::{Component, Submodule};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::scheduler::DEFAULT_BOUNDARY_RATIO;

/// JSON files of an export are small; anything larger is not ours.
const MAX_JSON: u64 = 64 << 20;

/// An export folder whose manifest agrees with its files.
#[derive(Clone, Debug)]
pub struct Export {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    manifest: ExportManifest,
    configs: Configs,
    boundary_ratio: f64,
}

/// The one key of the package's `config.json` that the runner reads (A.3).
#[derive(Deserialize)]
struct PackageConfig {
    switch_dit_boundary: Option<f64>,
}

impl Export {
    /// Reads the manifest and checks that every file is there with its size.
    pub fn open(folder: &Path) -> Result<Self, ExportError> {
        let path = folder.join(EXPORT_MANIFEST);
        if !path.is_file() {
            return Err(ExportError::NotAnExport { folder: folder.into() });
        }
        let manifest: ExportManifest = read_json(&path)?;
        if manifest.schema != EXPORT_SCHEMA {
            return Err(ExportError::Schema { path, found: manifest.schema });
        }
        for entry in files(&manifest) {
            check_file(folder, entry)?;
        }
        let configs = read_configs(folder, &manifest)?;
        let boundary_ratio = boundary_ratio(folder, &manifest)?;
        let folder = folder.to_path_buf();
        Ok(Self { inner: Arc::new(Inner { folder, manifest, configs, boundary_ratio }) })
    }

    /// The manifest.
    pub fn manifest(&self) -> &ExportManifest {
        &self.inner.manifest
    }

    /// The components' configs.
    pub fn configs(&self) -> &Configs {
        &self.inner.configs
    }

    /// Timestep, divided by 1000, at which the low-noise expert takes over.
    pub fn boundary_ratio(&self) -> f64 {
        self.inner.boundary_ratio
    }

    /// Where a listed file lies.
    pub fn path(&self, entry: &FileEntry) -> PathBuf {
        self.inner.folder.join(&entry.file)
    }

    /// Where the listed config file called `name` lies, such as `config/scheduler.json`.
    pub fn config_path(&self, name: &'static str) -> Result<PathBuf, ExportError> {
        let entry = self.manifest().config.iter().find(|entry| entry.file == name);
        let missing = || ExportError::Unlisted { folder: self.inner.folder.clone(), name };
        Ok(self.path(entry.ok_or_else(missing)?))
    }

    /// Where the table called `name` lies.
    pub fn table_path(&self, name: &'static str) -> Result<PathBuf, ExportError> {
        let missing = || ExportError::Unlisted { folder: self.inner.folder.clone(), name };
        Ok(self.path(self.manifest().tables.get(name).ok_or_else(missing)?))
    }

    /// Refuses what ONNX Runtime on CPU cannot compute.
    pub fn require_f32(&self) -> Result<(), ExportError> {
        let found = self.manifest().precision;
        let folder = || self.inner.folder.clone();
        if found == PrecisionName::F32 {
            Ok(())
        } else {
            Err(ExportError::Precision { folder: folder(), found })
        }
    }
}

/// Every file that the manifest lists.
fn files(manifest: &ExportManifest) -> impl Iterator<Item = &FileEntry> {
    let graphs = manifest.submodules.values().flat_map(|entry| [&entry.graph, &entry.weights]);
    graphs.chain(manifest.tables.values()).chain(&manifest.config)
}

/// A file must lie below the folder and have the size that the manifest says.
fn check_file(folder: &Path, entry: &FileEntry) -> Result<(), ExportError> {
    let relative = Path::new(&entry.file);
    if !relative.components().all(|part| matches!(part, PathPart::Normal(_))) {
        return Err(ExportError::Outside { folder: folder.into(), file: entry.file.clone() });
    }
    let path = folder.join(relative);
    let found = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
    if found != Some(entry.bytes) {
        return Err(ExportError::File { path, expected: entry.bytes, found });
    }
    Ok(())
}

/// The full package's own, else the released value.
fn boundary_ratio(folder: &Path, manifest: &ExportManifest) -> Result<f64, ExportError> {
    if manifest.config.iter().all(|entry| entry.file != PACKAGE_CONFIG) {
        return Ok(DEFAULT_BOUNDARY_RATIO);
    }
    let config: PackageConfig = read_json(&folder.join(PACKAGE_CONFIG))?;
    let given = config.switch_dit_boundary.filter(|ratio| (0.0..=1.0).contains(ratio));
    Ok(given.unwrap_or(DEFAULT_BOUNDARY_RATIO))
}

fn read_configs(folder: &Path, manifest: &ExportManifest) -> Result<Configs, ExportError> {
    use Component::{Connector, FlowHead, PlannerLm, TextEncoder, Transformer, Transformer2};
    let files = ConfigFiles { folder, manifest };
    let planner = match manifest.variant {
        Variant::Renderer => None,
        Variant::Full => Some(PlannerConfigs {
            vision: files.read(Component::Vision, VisionConfig::validate)?,
            lm: files.read(PlannerLm, PlannerConfig::validate)?,
            connector: files.read(Connector, ConnectorConfig::validate)?,
            flow_head: files.read(FlowHead, FlowHeadConfig::validate)?,
        }),
    };
    Ok(Configs {
        planner,
        text_encoder: files.read(TextEncoder, TextEncoderConfig::validate)?,
        transformer: files.read(Transformer, TransformerConfig::validate)?,
        transformer_2: files.read(Transformer2, TransformerConfig::validate)?,
        vae: files.read(Component::Vae, VaeConfig::validate)?,
    })
}

/// The components' configs of a folder.
struct ConfigFiles<'a> {
    folder: &'a Path,
    manifest: &'a ExportManifest,
}

impl ConfigFiles<'_> {
    /// The config that the component's submodules name, if the model can have it.
    fn read<T: DeserializeOwned>(
        &self,
        component: Component,
        validate: impl Fn(&T) -> Result<(), ConfigError>,
    ) -> Result<T, ExportError> {
        let folder = self.folder;
        let missing = || ExportError::Incomplete { folder: folder.into(), component };
        let entry = Submodule::ALL
            .into_iter()
            .filter(|submodule| submodule.component() == component)
            .find_map(|submodule| self.manifest.submodules.get(submodule.stem()));
        let file = &entry.ok_or_else(missing)?.config;
        let listed = self.manifest.config.iter().any(|entry| entry.file == *file);
        let config = if listed { read_json(&folder.join(file))? } else { return Err(missing()) };
        let wrong = |source| ExportError::Config { folder: folder.into(), component, source };
        validate(&config).map_err(wrong)?;
        Ok(config)
    }
}

/// Reads a JSON file of bounded size.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ExportError> {
    let io = |source| ExportError::Io { path: path.into(), source };
    let mut bytes = vec![];
    File::open(path).map_err(io)?.take(MAX_JSON).read_to_end(&mut bytes).map_err(io)?;
    serde_json::from_slice(&bytes).map_err(|source| ExportError::Json { path: path.into(), source })
}

/// What is wrong with an export folder.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No manifest.
    #[error("{} is no export: it has no {EXPORT_MANIFEST}; make one with `bernini export`", folder.display())]
    NotAnExport {
        /// The folder.
        folder: PathBuf,
    },
    /// A file could not be read.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A JSON file does not parse or has keys that do not belong there.
    #[error("{}: {source}; export the checkpoint again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// Another version of the manifest.
    #[error("{}: schema {found}, this version reads {EXPORT_SCHEMA}; export the checkpoint again", path.display())]
    Schema {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// The manifest names a file outside the folder.
    #[error("{}: the manifest names {file:?}, which is not below the folder", folder.display())]
    Outside {
        /// The folder.
        folder: PathBuf,
        /// The name.
        file: String,
    },
    /// A listed file is missing or has another size.
    #[error("{}: expected {expected} bytes, found {}; export the checkpoint again", path.display(), found.map_or("no file".into(), |n| n.to_string()))]
    File {
        /// The file.
        path: PathBuf,
        /// Size in the manifest.
        expected: u64,
        /// Size on disk, if it is there.
        found: Option<u64>,
    },
    /// A component has no graphs or no config.
    #[error("{}: no graphs or config of {}; export the checkpoint again", folder.display(), component.name())]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// The component.
        component: Component,
    },
    /// A file that every export has is not listed.
    #[error("{}: the manifest lists no {name}; export the checkpoint again", folder.display())]
    Unlisted {
        /// The folder.
        folder: PathBuf,
        /// The file.
        name: &'static str,
    },
    /// A config value that no model can have.
    #[error("{}: config of {}: {source}", folder.display(), component.name())]
    Config {
        /// The folder.
        folder: PathBuf,
        /// The component.
        component: Component,
        /// Key, expected, found.
        source: ConfigError,
    },
    /// A precision that runs on a GPU only.
    #[error("{}: {found:?} graphs run as TensorRT engines only; for the CPU use `bernini export --precision f32`", folder.display())]
    Precision {
        /// The folder.
        folder: PathBuf,
        /// Its precision.
        found: PrecisionName,
    },
}
