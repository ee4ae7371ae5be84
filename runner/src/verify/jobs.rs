//! Level A: which submodules two folders can be compared in, and at which sizes.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::PortEntry;
use bernini_graphs::taps::is_tap;

use super::side::same_units;
use super::{Side, VerifyError};
use crate::bench::Job;
use crate::engines::Engines;

/// One job for each profile of every engine, at the sizes that its kernels were chosen for.
pub fn profile_jobs(engines: &Engines) -> Vec<Job> {
    let mut jobs = vec![];
    for submodule in Submodule::ALL {
        for profile in engines.engine(submodule).iter().flat_map(|engine| &engine.profiles) {
            let sizes = profile.sizes.iter().map(|(symbol, size)| (symbol.clone(), size.opt));
            jobs.push(Job { submodule, sizes: sizes.collect(), runs: 1 });
        }
    }
    jobs
}

/// Those of `jobs` whose submodules both folders have, each once; with `own_contexts`, as in
/// [`ModuleReference::run`](super::ModuleReference::run), an expert only where both have its context, and no context where the folders
/// are re-balanced differently.
///
/// # Errors
/// [`VerifyError::Profile`] where an engine does not have the sizes of a job;
/// [`VerifyError::Contract`] where the graphs take other things.
pub fn common_jobs(
    a: Side<'_>,
    b: Side<'_>,
    jobs: &[Job],
    own_contexts: bool,
) -> Result<Vec<Job>, VerifyError> {
    let mut common: Vec<Job> = vec![];
    let same_units = same_units(a.folder, b.folder);
    let is_context = |job: &Job| CONTEXTS.iter().any(|(_, context)| *context == job.submodule);
    for job in jobs.iter().filter(|job| same_units || !is_context(job)) {
        let (submodule, sizes) = (job.submodule, &job.sizes);
        let (Some(of_a), Some(of_b)) = (a.inputs(submodule), b.inputs(submodule)) else { continue };
        if common.iter().any(|other| (other.submodule, &other.sizes) == (submodule, sizes)) {
            continue;
        }
        same_ports(submodule, of_a, of_b)?;
        let contract = |side: Side<'_>| side.outputs(submodule).map(contract).unwrap_or_default();
        same_ports(submodule, &contract(a), &contract(b))?;
        let context = context_of(submodule).filter(|_| own_contexts);
        let has_context = |side: Side<'_>| context.is_none_or(|c| side.inputs(c).is_some());
        if !has_context(a) || !has_context(b) {
            continue;
        }
        for submodule in [Some(submodule), context].into_iter().flatten() {
            serves(a, submodule, sizes)?;
            serves(b, submodule, sizes)?;
        }
        common.push(job.clone());
    }
    if common.is_empty() { Err(VerifyError::NothingInCommon) } else { Ok(common) }
}

fn serves(
    side: Side<'_>,
    submodule: Submodule,
    sizes: &BTreeMap<String, usize>,
) -> Result<(), VerifyError> {
    if side.folder.submodule(submodule).is_some_and(|entry| entry.serves(sizes)) {
        return Ok(());
    }
    let (side, sizes) = (side.name.into(), describe(sizes));
    Err(VerifyError::Profile { side, submodule, sizes })
}

/// Experts, and the graphs that make their keys and values.
const CONTEXTS: [(Submodule, Submodule); 2] = [
    (Submodule::Transformer, Submodule::TransformerContext),
    (Submodule::Transformer2, Submodule::Transformer2Context),
];

pub(super) fn context_of(expert: Submodule) -> Option<Submodule> {
    CONTEXTS.into_iter().find(|(known, _)| *known == expert).map(|(_, context)| context)
}

/// Outputs of the contract, without taps.
pub(super) fn contract(outputs: &[PortEntry]) -> Vec<PortEntry> {
    outputs.iter().filter(|port| !is_tap(&port.name)).cloned().collect()
}

/// Names and shapes must agree; floats may be of any width.
fn same_ports(submodule: Submodule, a: &[PortEntry], b: &[PortEntry]) -> Result<(), VerifyError> {
    let of = |ports: &[PortEntry], name: &str| {
        ports.iter().find(|port| port.name == name).map(|port| {
            let kind = if port.dtype.is_float() { "float".into() } else { port.dtype.to_string() };
            format!("{kind} [{}]", port.shape.join(", "))
        })
    };
    for port in a.iter().chain(b) {
        let (in_a, in_b) = (of(a, &port.name), of(b, &port.name));
        if in_a != in_b {
            let [a, b] = [in_a, in_b].map(|text| text.unwrap_or("nothing".into()));
            return Err(VerifyError::Contract { submodule, port: port.name.clone(), a, b });
        }
    }
    Ok(())
}

pub(super) fn describe(sizes: &BTreeMap<String, usize>) -> String {
    let sizes: Vec<_> = sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
    sizes.join(" ")
}

#[cfg(test)]
mod tests {
    use bernini_graphs::DType;

    use super::*;
    use crate::backend::testing::EngineFolder;
    use crate::package::Folder;

    fn side(folder: &Folder) -> Side<'_> {
        Side { name: "B", folder }
    }

    #[test]
    fn profiles_say_which_sizes_both_folders_run() {
        let folder = Folder::open(EngineFolder::new().path()).unwrap();
        let Folder::Engines(engines) = &folder else { panic!("it has engines") };
        let jobs = profile_jobs(engines);
        let twice = [&jobs[..], &jobs[..]].concat();
        assert_eq!(common_jobs(side(&folder), side(&folder), &twice, false).unwrap(), jobs);
        let mut longer = jobs.into_iter().find(|job| job.sizes.contains_key("tokens")).unwrap();
        longer.sizes.insert("tokens".into(), 77);
        let refused = common_jobs(side(&folder), side(&folder), &[longer], false).unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains("has no profile for") && message.contains("tokens=77"),
            "{message}"
        );
        let nothing = common_jobs(side(&folder), side(&folder), &[], false).unwrap_err();
        assert!(matches!(nothing, VerifyError::NothingInCommon));
    }

    #[test]
    fn graphs_with_other_ports_are_refused_by_name() {
        let port = |name: &str, dtype, axis: &str| PortEntry {
            name: name.into(),
            dtype,
            shape: vec!["1".into(), axis.into()],
        };
        let a = [port("x", DType::F32, "tokens")];
        let same = |b: &PortEntry| {
            same_ports(Submodule::Transformer, &a, std::slice::from_ref(b))
                .map_err(|error| error.to_string())
        };
        same(&port("x", DType::Bf16, "tokens")).unwrap();
        let error = same(&port("x", DType::F32, "rows")).unwrap_err();
        assert!(error.contains("A has float [1, tokens], this one float [1, rows]"), "{error}");
        assert!(same(&port("x", DType::I64, "tokens")).is_err());
        assert!(same(&port("y", DType::F32, "tokens")).unwrap_err().contains("this one nothing"));
    }
}
