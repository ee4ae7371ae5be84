//! What the pipeline reads of a folder besides graphs or engines: tables, configs, tokenizer files.
//! Exports and engine folders hold the same ones (design §3).

mod folder;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component as PathPart, Path, PathBuf};
use std::sync::Arc;

use bernini_graphs::Component;
use bernini_graphs::config::{
    ConfigError, ConnectorConfig, FlowHeadConfig, PlannerConfig, TextEncoderConfig,
    TransformerConfig, VaeConfig, VisionConfig,
};
use bernini_graphs::engines::ENGINES_MANIFEST;
use bernini_graphs::manifest::{
    EXPORT_MANIFEST, FileEntry, PACKAGE_CONFIG, PrecisionName, Variant,
};
use bernini_graphs::models::{Configs, PlannerConfigs};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use folder::{Entry, Folder, Identity};

use crate::scheduler::DEFAULT_BOUNDARY_RATIO;

/// JSON files of a folder are small; anything larger is not ours.
const MAX_JSON: u64 = 64 << 20;

/// The two kinds of folder that can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// Graphs for ONNX Runtime.
    Export,
    /// TensorRT engines.
    Engines,
}

impl FolderKind {
    /// What makes such a folder anew.
    fn remedy(self) -> &'static str {
        match self {
            Self::Export => "export the checkpoint again with `bernini export`",
            Self::Engines => "build the engines again with `bernini build`",
        }
    }
}

/// Tables, configs and tokenizer files of a folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Package {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    listed: Listed,
    configs: Configs,
    boundary_ratio: f64,
}

/// What both manifests list.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub kind: FolderKind,
    pub folder: PathBuf,
    pub variant: Variant,
    pub tables: BTreeMap<String, FileEntry>,
    pub config: Vec<FileEntry>,
}

/// The one key of the package's `config.json` that the runner reads (A.3).
#[derive(Deserialize)]
struct PackageConfig {
    switch_dit_boundary: Option<f64>,
}

impl Package {
    /// Reads the configs of a folder whose files were checked.
    pub(crate) fn read(listed: Listed) -> Result<Self, PackageError> {
        let configs = listed.configs()?;
        let boundary_ratio = listed.boundary_ratio()?;
        Ok(Self { inner: Arc::new(Inner { listed, configs, boundary_ratio }) })
    }

    /// Which tasks the checkpoint can do.
    pub fn variant(&self) -> Variant {
        self.inner.listed.variant
    }

    /// The components' configs.
    pub fn configs(&self) -> &Configs {
        &self.inner.configs
    }

    /// Timestep, divided by 1000, at which the low-noise expert takes over.
    pub fn boundary_ratio(&self) -> f64 {
        self.inner.boundary_ratio
    }

    /// Where the listed config file called `name` lies, such as `config/scheduler.json`.
    pub fn config_path(&self, name: &'static str) -> Result<PathBuf, PackageError> {
        let listed = &self.inner.listed;
        let entry = listed.config.iter().find(|entry| entry.file == name);
        listed.path(entry, name)
    }

    /// Where the table called `name` lies.
    pub fn table_path(&self, name: &'static str) -> Result<PathBuf, PackageError> {
        let listed = &self.inner.listed;
        listed.path(listed.tables.get(name), name)
    }
}

impl Listed {
    fn path(&self, entry: Option<&FileEntry>, name: &'static str) -> Result<PathBuf, PackageError> {
        let Listed { kind, folder, .. } = self;
        let missing = || PackageError::Unlisted { kind: *kind, folder: folder.clone(), name };
        Ok(folder.join(&entry.ok_or_else(missing)?.file))
    }

    /// The full package's own, else the released value.
    fn boundary_ratio(&self) -> Result<f64, PackageError> {
        if self.config.iter().all(|entry| entry.file != PACKAGE_CONFIG) {
            return Ok(DEFAULT_BOUNDARY_RATIO);
        }
        let config: PackageConfig = read_json(self.kind, &self.folder.join(PACKAGE_CONFIG))?;
        let given = config.switch_dit_boundary.filter(|ratio| (0.0..=1.0).contains(ratio));
        Ok(given.unwrap_or(DEFAULT_BOUNDARY_RATIO))
    }

    fn configs(&self) -> Result<Configs, PackageError> {
        use Component::{Connector, FlowHead, PlannerLm, TextEncoder, Transformer, Transformer2};
        let planner = match self.variant {
            Variant::Renderer => None,
            Variant::Full => Some(PlannerConfigs {
                vision: self.config(Component::Vision, VisionConfig::validate)?,
                lm: self.config(PlannerLm, PlannerConfig::validate)?,
                connector: self.config(Connector, ConnectorConfig::validate)?,
                flow_head: self.config(FlowHead, FlowHeadConfig::validate)?,
            }),
        };
        Ok(Configs {
            planner,
            text_encoder: self.config(TextEncoder, TextEncoderConfig::validate)?,
            transformer: self.config(Transformer, TransformerConfig::validate)?,
            transformer_2: self.config(Transformer2, TransformerConfig::validate)?,
            vae: self.config(Component::Vae, VaeConfig::validate)?,
        })
    }

    /// The config of a component, if the model can have it.
    fn config<T: DeserializeOwned>(
        &self,
        component: Component,
        validate: impl Fn(&T) -> Result<(), ConfigError>,
    ) -> Result<T, PackageError> {
        let (kind, folder) = (self.kind, &self.folder);
        let file = component.config_file();
        if self.config.iter().all(|entry| entry.file != file) {
            return Err(PackageError::Incomplete { kind, folder: folder.clone(), component });
        }
        let config = read_json(kind, &folder.join(file))?;
        let wrong = |source| PackageError::Config { folder: folder.clone(), component, source };
        validate(&config).map_err(wrong)?;
        Ok(config)
    }
}

/// A file must lie below the folder and have the size that the manifest says.
pub(crate) fn check_file(
    kind: FolderKind,
    folder: &Path,
    entry: &FileEntry,
) -> Result<(), PackageError> {
    let relative = Path::new(&entry.file);
    if !relative.components().all(|part| matches!(part, PathPart::Normal(_))) {
        return Err(PackageError::Outside { folder: folder.into(), file: entry.file.clone() });
    }
    let path = folder.join(relative);
    let found = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
    if found != Some(entry.bytes) {
        return Err(PackageError::File { kind, path, expected: entry.bytes, found });
    }
    Ok(())
}

/// Reads a JSON file of bounded size.
pub(crate) fn read_json<T: DeserializeOwned>(
    kind: FolderKind,
    path: &Path,
) -> Result<T, PackageError> {
    let io = |source| PackageError::Io { path: path.into(), source };
    let mut bytes = vec![];
    File::open(path).map_err(io)?.take(MAX_JSON).read_to_end(&mut bytes).map_err(io)?;
    let broken = |source| PackageError::Json { kind, path: path.into(), source };
    serde_json::from_slice(&bytes).map_err(broken)
}

/// What is wrong with a folder.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// No manifest.
    #[error(
        "{} is neither an export nor an engine folder: it has no {EXPORT_MANIFEST} and no \
         {ENGINES_MANIFEST}; make one with `bernini export`, then perhaps `bernini build`",
        folder.display()
    )]
    Neither {
        /// The folder.
        folder: PathBuf,
    },
    /// Two manifests.
    #[error(
        "{} holds both {EXPORT_MANIFEST} and {ENGINES_MANIFEST}; give engines a folder of their own",
        folder.display()
    )]
    Both {
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
    #[error("{}: {source}; {}", path.display(), kind.remedy())]
    Json {
        /// Of which folder.
        kind: FolderKind,
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// Another version of the manifest.
    #[error("{}: schema {found}, this version reads {expected}; {}", path.display(), kind.remedy())]
    Schema {
        /// Of which folder.
        kind: FolderKind,
        /// The manifest.
        path: PathBuf,
        /// The schema that this version reads.
        expected: u32,
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
    #[error(
        "{}: expected {expected} bytes, found {}; {}",
        path.display(), found.map_or("no file".into(), |n| n.to_string()), kind.remedy()
    )]
    File {
        /// Of which folder.
        kind: FolderKind,
        /// The file.
        path: PathBuf,
        /// Size in the manifest.
        expected: u64,
        /// Size on disk, if it is there.
        found: Option<u64>,
    },
    /// A component has no config.
    #[error("{}: no config of {}; {}", folder.display(), component.name(), kind.remedy())]
    Incomplete {
        /// Of which folder.
        kind: FolderKind,
        /// The folder.
        folder: PathBuf,
        /// The component.
        component: Component,
    },
    /// A file that every folder has is not listed.
    #[error("{}: the manifest lists no {name}; {}", folder.display(), kind.remedy())]
    Unlisted {
        /// Of which folder.
        kind: FolderKind,
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
    #[error(
        "{}: {found} graphs run as TensorRT engines only: `bernini build` them; for the CPU use \
         `bernini export --precision f32` or `fp8-f32`",
        folder.display()
    )]
    Precision {
        /// The folder.
        folder: PathBuf,
        /// Its precision.
        found: PrecisionName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::EngineFolder;
    use crate::engines::Engines;

    fn refusal(made: &EngineFolder) -> String {
        match Folder::open(made.path()) {
            Ok(Folder::Engines(engines)) => engines.package().unwrap_err().to_string(),
            Ok(Folder::Export(_)) => panic!("it has engines"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn folders_are_told_apart_by_their_manifest() {
        let made = EngineFolder::new();
        let Ok(Folder::Engines(engines)) = Folder::open(made.path()) else { panic!("engines") };
        let package = engines.package().unwrap();
        assert_eq!((package.variant(), package.boundary_ratio()), (Variant::Renderer, 0.875));
        assert_eq!(package.configs().transformer.num_layers, 40);
        fs::write(made.path().join(EXPORT_MANIFEST), "{}").unwrap();
        assert!(matches!(Folder::open(made.path()), Err(PackageError::Both { .. })));
        fs::remove_file(made.path().join(ENGINES_MANIFEST)).unwrap();
        assert!(matches!(Folder::open(made.path()), Err(PackageError::Json { .. })));
        fs::remove_file(made.path().join(EXPORT_MANIFEST)).unwrap();
        let error = Folder::open(made.path()).unwrap_err().to_string();
        assert!(error.contains("neither") && error.contains("bernini build"), "{error}");
    }

    #[test]
    fn an_engine_folder_that_lies_is_refused_when_it_is_opened() {
        let made = EngineFolder::new();
        let (plan, _) = made.plan(bernini_graphs::Submodule::Transformer);
        fs::write(&plan, "short").unwrap();
        let error = refusal(&made);
        assert!(error.contains("expected 11 bytes, found 5; build the engines again"), "{error}");
        let schema = EngineFolder::edited(|manifest| manifest.schema = 99);
        assert!(refusal(&schema).contains("schema 99, this version reads 1; build the engines"));
        let outside = EngineFolder::edited(|manifest| {
            manifest.config[0].file = "../secret.json".into();
        });
        assert!(refusal(&outside).contains("not below the folder"));
        let without = EngineFolder::edited(|manifest| manifest.config.truncate(1));
        assert!(refusal(&without).contains("no config of transformer; build the engines again"));
        let unlisted = EngineFolder::new();
        let package = Engines::open(unlisted.path()).unwrap().package().unwrap();
        let error = package.table_path("text_embeddings").unwrap_err().to_string();
        assert!(error.contains("lists no text_embeddings"), "{error}");
        let broken = EngineFolder::new();
        fs::write(broken.path().join(ENGINES_MANIFEST), r#"{"schema": 1, "more": 2}"#).unwrap();
        assert!(refusal(&broken).contains("engines.json"));
    }
}
