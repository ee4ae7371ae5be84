//! One of the two folders: what it holds and what runs it.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::PortEntry;

use super::{SideReport, VerifyError};
use crate::backend::Backend;
use crate::package::Folder;
use crate::tensor::Tensor;

/// A folder and its backend.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// `A` or `B`, for messages.
    pub name: &'static str,
    /// The folder.
    pub folder: &'a Folder,
    /// What runs it.
    pub backend: &'a dyn Backend,
}

impl<'a> Side<'a> {
    /// What a submodule takes, if the folder has it.
    pub(super) fn inputs(&self, submodule: Submodule) -> Option<&'a [PortEntry]> {
        ports(self.folder, submodule).map(|[inputs, _]| inputs)
    }

    /// What a submodule gives, if the folder has it, in the order of the graph.
    pub(super) fn outputs(&self, submodule: Submodule) -> Option<&'a [PortEntry]> {
        ports(self.folder, submodule).map(|[_, outputs]| outputs)
    }

    /// Loads `submodule` and runs it once; outputs lie on the host.
    pub(super) fn run(
        &self,
        submodule: Submodule,
        inputs: &[(String, Tensor)],
    ) -> Result<BTreeMap<String, Tensor>, VerifyError> {
        let failed = |source| VerifyError::Backend { side: self.name, source };
        let mut session = self.backend.load(submodule).map_err(failed)?;
        let feed: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut outputs = session.run(&feed).map_err(failed)?;
        let host = |(name, tensor): (String, Tensor)| {
            let tensor = tensor.into_host().map_err(|source| failed(source.into()))?;
            Ok((name, tensor))
        };
        outputs.take_prefixed("").into_iter().map(host).collect()
    }
}

/// Inputs and outputs of a submodule.
fn ports(folder: &Folder, submodule: Submodule) -> Option<[&[PortEntry]; 2]> {
    let stem = submodule.stem();
    Some(match folder {
        Folder::Export(export) => {
            let entry = export.manifest().submodules.get(stem)?;
            [&entry.inputs, &entry.outputs]
        }
        Folder::Engines(engines) => {
            let entry = engines.manifest().engines.get(stem)?;
            [&entry.inputs, &entry.outputs]
        }
    })
}

/// Whether the folder has `submodule`; an engine needs a profile for `sizes`, too.
pub(super) fn has_profile(
    folder: &Folder,
    submodule: Submodule,
    sizes: &BTreeMap<String, usize>,
) -> bool {
    let Folder::Engines(engines) = folder else { return true };
    let profiles = engines.engine(submodule).map_or(&[][..], |engine| &engine.profiles);
    profiles.iter().any(|profile| {
        let fits = |(symbol, size): (&String, &usize)| {
            profile.sizes.get(symbol).is_none_or(|range| range.contains(*size))
        };
        sizes.iter().all(fits)
    })
}

/// Checks what can be checked before a library is opened; gives what is worth a warning.
///
/// # Errors
/// [`VerifyError::Variants`].
pub fn check_pair(a: &Folder, b: &Folder) -> Result<Vec<String>, VerifyError> {
    let [a, b] = [SideReport::new(a), SideReport::new(b)];
    if a.variant != b.variant {
        return Err(VerifyError::Variants { a: a.variant, b: b.variant });
    }
    let mut warnings = vec![];
    if a.source != b.source {
        warnings.push("A and B come from different checkpoints, so their weights differ".into());
    }
    for (name, side) in [("A", &a), ("B", &b)] {
        if side.uncalibrated {
            warnings.push(format!("{name} has FP8 scales that were never measured"));
        }
    }
    Ok(warnings)
}

impl SideReport {
    /// What a folder says of itself.
    pub fn new(folder: &Folder) -> Self {
        match folder {
            Folder::Export(export) => {
                let m = export.manifest();
                Self {
                    folder: export.folder().into(),
                    variant: m.variant,
                    precision: m.precision,
                    policy: m.policy.clone(),
                    uncalibrated: m.uncalibrated,
                    source: m.source.clone(),
                    gpu: None,
                    tensorrt: None,
                }
            }
            Folder::Engines(engines) => {
                let m = engines.manifest();
                Self {
                    folder: engines.folder().into(),
                    variant: m.variant,
                    precision: m.precision,
                    policy: m.policy.clone(),
                    uncalibrated: m.uncalibrated,
                    source: m.source.clone(),
                    gpu: Some(m.gpu.name.clone()),
                    tensorrt: Some(m.tensorrt.clone()),
                }
            }
        }
    }
}
