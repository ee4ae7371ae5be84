//! One of the folders: what it holds, and whether it can be compared with A.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::PortEntry;

use super::{SideReport, VerifyError};
use crate::backend::{Backend, BackendError};
use crate::package::Folder;
use crate::tensor::Tensor;

/// A folder and its name.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// `A`, or the folder's name, for messages.
    pub name: &'a str,
    /// The folder.
    pub folder: &'a Folder,
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
        backend: &dyn Backend,
        submodule: Submodule,
        inputs: &[(String, Tensor)],
    ) -> Result<BTreeMap<String, Tensor>, VerifyError> {
        let failed = |source: BackendError| VerifyError::Backend {
            side: self.name.into(),
            source: Box::new(source),
        };
        let mut session = backend.load(submodule).map_err(failed)?;
        let feed: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut outputs = session.run(&feed).map_err(failed)?;
        let host = |(name, tensor): (String, Tensor)| {
            let tensor = tensor.into_host().map_err(|source| failed(source.into()))?;
            Ok((name, tensor))
        };
        outputs.take_prefixed("").into_iter().map(host).collect()
    }
}

/// Checks what can be checked of A and the folder called `name` before a library is opened; gives
/// what is worth a warning.
///
/// # Errors
/// [`VerifyError::Variants`].
pub fn check_pair(a: &Folder, name: &str, other: &Folder) -> Result<Vec<String>, VerifyError> {
    let same_units = same_units(a, other);
    let [a, b] = [SideReport::new(a), SideReport::new(other)];
    if a.variant != b.variant {
        return Err(VerifyError::Variants { a: a.variant, name: name.into(), b: b.variant });
    }
    let mut warnings = vec![];
    if !same_units {
        warnings.push(format!(
            "A and {name} differ in re-balanced keys and values: at level a every expert takes \
             those of its own context, whose error is then in its own, and contexts are not \
             compared"
        ));
    }
    if a.source != b.source {
        let from = "come from different checkpoints, so their weights differ";
        warnings.push(format!("A and {name} {from}"));
    }
    for (name, side) in [("A", &a), (name, &b)] {
        if side.uncalibrated {
            warnings.push(format!("{name} has FP8 scales that were never measured"));
        }
    }
    Ok(warnings)
}

/// Checks that `floor` can stand for the noise of `a`: another valid folder.
///
/// # Errors
/// [`VerifyError::Floor`] where it rounds to FP8 and `a` does not.
pub fn check_floor(a: &Folder, floor: &Folder) -> Result<(), VerifyError> {
    let [a, found] = [a, floor].map(|folder| folder.identity().precision);
    match found.is_fp8() && !a.is_fp8() {
        true => Err(VerifyError::Floor { a, found }),
        false => Ok(()),
    }
}

/// Whether cached keys and values of cross attention mean the same in both folders: re-balancing
/// scales them in a context's graph and undoes it in its expert's.
pub fn same_units(a: &Folder, b: &Folder) -> bool {
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
            balanced: identity.balance.is_some(),
            source: identity.source,
            gpu: identity.gpu.map(|gpu| gpu.name),
            tensorrt: identity.tensorrt,
        }
    }
}
