//! A folder that can run, whichever of the two kinds it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bernini_graphs::Submodule;
use bernini_graphs::engines::{ENGINES_MANIFEST, GpuEntry, ProfileEntry};
use bernini_graphs::manifest::{EXPORT_MANIFEST, PortEntry, PrecisionName, Variant, WorkEntry};
use serde::Serialize;

use super::PackageError;
use crate::engines::Engines;
use crate::export::Export;

/// A folder, opened as what its manifest says it is.
#[derive(Clone, Debug)]
pub enum Folder {
    /// It has an `export.json`.
    Export(Export),
    /// It has an `engines.json`.
    Engines(Engines),
}

/// What a folder says of itself: which weights, in which numbers, for which machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    /// Where it lies.
    pub folder: PathBuf,
    /// Fingerprint of its checkpoint.
    pub source: String,
    /// Which tasks its checkpoint can do.
    pub variant: Variant,
    /// Precision of its graphs.
    pub precision: PrecisionName,
    /// FP8 only: name of the policy.
    pub policy: Option<String>,
    /// FP8 only: whether its scales were never measured.
    pub uncalibrated: bool,
    /// FP8 only: hash of the factors by which attentions were re-balanced in its weights.
    pub balance: Option<String>,
    /// Engines: the GPU that they were built on; none: graphs for the CPU.
    pub gpu: Option<GpuEntry>,
    /// Engines: version of TensorRT.
    pub tensorrt: Option<String>,
}

/// One graph or engine, as the manifest describes it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it takes.
    pub inputs: &'a [PortEntry],
    /// What it gives, in the order of the graph.
    pub outputs: &'a [PortEntry],
    /// Its arithmetic.
    pub work: &'a WorkEntry,
    /// Engines: the sizes that they serve; a graph has none, and runs at any.
    pub profiles: Option<&'a [ProfileEntry]>,
}

impl Entry<'_> {
    /// Whether it can run with these sizes of its symbols.
    pub fn serves(&self, sizes: &BTreeMap<String, usize>) -> bool {
        let fits = |profile: &ProfileEntry| {
            let within = |(symbol, size): (&String, &usize)| {
                profile.sizes.get(symbol).is_none_or(|range| range.contains(*size))
            };
            sizes.iter().all(within)
        };
        self.profiles.is_none_or(|profiles| profiles.iter().any(fits))
    }
}

impl Folder {
    /// Opens `folder`.
    ///
    /// # Errors
    /// [`PackageError::Neither`] and [`PackageError::Both`] by its manifests, then those of
    /// [`Export::open`] and [`Engines::open`].
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        let has = |manifest: &str| folder.join(manifest).is_file();
        match (has(EXPORT_MANIFEST), has(ENGINES_MANIFEST)) {
            (true, false) => Export::open(folder).map(Self::Export),
            (false, true) => Engines::open(folder).map(Self::Engines),
            (false, false) => Err(PackageError::Neither { folder: folder.into() }),
            (true, true) => Err(PackageError::Both { folder: folder.into() }),
        }
    }

    /// The graph or engine of `submodule`, if the folder has it.
    pub fn submodule(&self, submodule: Submodule) -> Option<Entry<'_>> {
        match self {
            Self::Export(export) => {
                let entry = export.manifest().submodules.get(submodule.stem())?;
                let (inputs, outputs) = (&entry.inputs, &entry.outputs);
                Some(Entry { inputs, outputs, work: &entry.work, profiles: None })
            }
            Self::Engines(engines) => {
                let entry = engines.engine(submodule)?;
                let (inputs, outputs) = (&entry.inputs, &entry.outputs);
                Some(Entry { inputs, outputs, work: &entry.work, profiles: Some(&entry.profiles) })
            }
        }
    }

    /// What the folder says of itself.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Export(export) => {
                let manifest = export.manifest();
                Identity {
                    folder: export.folder().into(),
                    source: manifest.source.clone(),
                    variant: manifest.variant,
                    precision: manifest.precision,
                    policy: manifest.policy.clone(),
                    uncalibrated: manifest.uncalibrated,
                    balance: manifest.balance.clone(),
                    gpu: None,
                    tensorrt: None,
                }
            }
            Self::Engines(engines) => {
                let manifest = engines.manifest();
                Identity {
                    folder: engines.folder().into(),
                    source: manifest.source.clone(),
                    variant: manifest.variant,
                    precision: manifest.precision,
                    policy: manifest.policy.clone(),
                    uncalibrated: manifest.uncalibrated,
                    balance: manifest.balance.clone(),
                    gpu: Some(manifest.gpu.clone()),
                    tensorrt: Some(manifest.tensorrt.clone()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::EngineFolder;

    fn sizes(all: &[(&str, usize)]) -> BTreeMap<String, usize> {
        all.iter().map(|&(symbol, size)| (symbol.into(), size)).collect()
    }

    #[test]
    fn an_engine_serves_the_sizes_of_its_profiles_and_a_graph_any() {
        let made = EngineFolder::edited(|manifest| {
            manifest.engines.remove("transformer_2");
        });
        let folder = Folder::open(made.path()).unwrap();
        let expert = folder.submodule(Submodule::Transformer).unwrap();
        assert_eq!(expert.profiles.map(<[_]>::len), Some(2));
        assert!(expert.serves(&sizes(&[("tokens", 65_520), ("context", 700)])));
        // Each size is within some profile, but no profile has both.
        assert!(!expert.serves(&sizes(&[("tokens", 65_519), ("context", 700)])));
        assert!(!expert.serves(&sizes(&[("tokens", 65_520), ("context", 4096)])));
        assert!(Entry { profiles: None, ..expert }.serves(&sizes(&[("tokens", 7)])));
        assert!(folder.submodule(Submodule::Transformer2).is_none());
    }

    #[test]
    fn a_folder_says_which_weights_and_which_machine() {
        let made = EngineFolder::edited(|manifest| manifest.policy = Some("all-fp8".into()));
        let identity = Folder::open(made.path()).unwrap().identity();
        assert_eq!(identity.folder, made.path());
        assert_eq!((identity.source.as_str(), identity.variant), ("made up", Variant::Renderer));
        assert_eq!((identity.policy, identity.uncalibrated), (Some("all-fp8".into()), false));
        assert_eq!(identity.gpu.map(|gpu| gpu.name), Some("NVIDIA H200".into()));
        assert_eq!(identity.tensorrt, Some("10.6.0".into()));
    }
}
