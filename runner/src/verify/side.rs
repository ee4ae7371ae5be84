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
        self.folder.submodule(submodule).map(|entry| entry.inputs)
    }

    /// What a submodule gives, if the folder has it, in the order of the graph.
    pub(super) fn outputs(&self, submodule: Submodule) -> Option<&'a [PortEntry]> {
        self.folder.submodule(submodule).map(|entry| entry.outputs)
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

/// Checks what can be checked before a library is opened; gives what is worth a warning.
///
/// # Errors
/// [`VerifyError::Variants`].
pub fn check_pair(a: &Folder, b: &Folder) -> Result<Vec<String>, VerifyError> {
    let same_units = same_units(a, b);
    let [a, b] = [SideReport::new(a), SideReport::new(b)];
    if a.variant != b.variant {
        return Err(VerifyError::Variants { a: a.variant, b: b.variant });
    }
    let mut warnings = vec![];
    if !same_units {
        let levels = "experts and their contexts are compared at levels b and c, not at a";
        warnings.push(format!("A and B differ in re-balanced keys and values: {levels}"));
    }
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

/// Whether cached keys and values of cross attention mean the same in both folders: re-balancing
/// scales them in a context's graph and undoes it in its expert's.
pub(super) fn same_units(a: &Folder, b: &Folder) -> bool {
    a.identity().balance == b.identity().balance
}

impl SideReport {
    /// What a folder says of itself.
    pub fn new(folder: &Folder) -> Self {
        let identity = folder.identity();
        Self {
            folder: identity.folder,
            variant: identity.variant,
            precision: identity.precision,
            policy: identity.policy,
            uncalibrated: identity.uncalibrated,
            source: identity.source,
            gpu: identity.gpu.map(|gpu| gpu.name),
            tensorrt: identity.tensorrt,
        }
    }
}
