//! Level A: one submodule in both folders on equal, made-up inputs.

use std::collections::BTreeMap;

use bernini_calibration::error::compare;
use bernini_graphs::manifest::PortEntry;
use bernini_graphs::taps::{VALUE, is_tap};
use bernini_graphs::{Component, DType, Submodule};
use half::bf16;

use super::first_layer::first_layer;
use super::side::same_units;
use super::{Limit, ModuleReport, OutputReport, Side, VerifyError};
use crate::bench::Job;
use crate::engines::Engines;
use crate::inputs;
use crate::tensor::Tensor;

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

/// Those of `jobs` whose submodules both folders have, each once; without the experts where they are
/// re-balanced differently, as [`check_pair`](super::check_pair) warns.
///
/// # Errors
/// [`VerifyError::Profile`] where an engine does not have the sizes of a job;
/// [`VerifyError::Contract`] where the graphs take other things.
pub fn common_jobs(a: Side<'_>, b: Side<'_>, jobs: Vec<Job>) -> Result<Vec<Job>, VerifyError> {
    let mut common: Vec<Job> = vec![];
    let same_units = same_units(a.folder, b.folder);
    let is_expert = |job: &Job| {
        matches!(job.submodule.component(), Component::Transformer | Component::Transformer2)
    };
    for job in jobs.into_iter().filter(|job| same_units || !is_expert(job)) {
        let (submodule, sizes) = (job.submodule, &job.sizes);
        let (Some(of_a), Some(of_b)) = (a.inputs(submodule), b.inputs(submodule)) else { continue };
        if common.iter().any(|other| (other.submodule, &other.sizes) == (submodule, sizes)) {
            continue;
        }
        same_ports(submodule, of_a, of_b)?;
        let contract = |side: Side<'_>| side.outputs(submodule).map(contract).unwrap_or_default();
        same_ports(submodule, &contract(a), &contract(b))?;
        for side in [a, b] {
            if !side.folder.submodule(submodule).is_some_and(|entry| entry.serves(sizes)) {
                let sizes = describe(sizes);
                return Err(VerifyError::Profile { side: side.name, submodule, sizes });
            }
        }
        common.push(job);
    }
    if common.is_empty() { Err(VerifyError::NothingInCommon) } else { Ok(common) }
}

/// Outputs of the contract, without taps.
fn contract(outputs: &[PortEntry]) -> Vec<PortEntry> {
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

fn describe(sizes: &BTreeMap<String, usize>) -> String {
    let sizes: Vec<_> = sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
    sizes.join(" ")
}

/// Runs one job of [`common_jobs`] in both folders and measures every output.
///
/// # Errors
/// Those of the backends; [`VerifyError::Contract`] where sizes are missing or outputs differ in
/// shape.
pub fn module(
    a: Side<'_>,
    b: Side<'_>,
    job: &Job,
    limit: &Limit,
) -> Result<ModuleReport, VerifyError> {
    let submodule = job.submodule;
    let made_up = made_up(a, b, job)?;
    let (of_a, of_b) = (a.run(submodule, &made_up)?, b.run(submodule, &made_up)?);
    let ports = a.outputs(submodule).unwrap_or_default();
    let mut outputs = vec![];
    for port in contract(ports) {
        outputs.push(output(submodule, &port.name, &of_a, &of_b, limit)?);
    }
    let passed = outputs.iter().all(|output| output.passed);
    let first_beyond = match passed {
        true => None,
        false => match first_tap(submodule, ports, &of_a, &of_b, limit)? {
            None => first_layer([a, b], submodule, &made_up, limit)?,
            tap => tap,
        },
    };
    Ok(ModuleReport { submodule, sizes: describe(&job.sizes), outputs, passed, first_beyond })
}

/// Inputs that both sides see alike: where one of them takes bf16, values are bf16 values.
fn made_up(a: Side<'_>, b: Side<'_>, job: &Job) -> Result<Vec<(String, Tensor)>, VerifyError> {
    let submodule = job.submodule;
    let [of_a, of_b] = [a, b].map(|side| side.inputs(submodule).unwrap_or_default());
    let mut tensors = inputs::random(of_a, &job.sizes).ok_or_else(|| {
        let [a, b] = [of_a, of_b].map(shapes);
        VerifyError::Contract { submodule, port: describe(&job.sizes), a, b }
    })?;
    for (name, tensor) in &mut tensors {
        let mut same = of_a.iter().chain(of_b).filter(|port| port.name == *name);
        if let Tensor::F32(array) = tensor
            && same.any(|port| port.dtype == DType::Bf16)
        {
            array.par_mapv_inplace(|value| bf16::from_f32(value).to_f32());
        }
    }
    Ok(tensors)
}

fn shapes(ports: &[PortEntry]) -> String {
    let shape = |port: &PortEntry| format!("{} [{}]", port.name, port.shape.join(", "));
    ports.iter().map(shape).collect::<Vec<_>>().join(" ")
}

/// Measures the output called `name`.
pub(super) fn output(
    submodule: Submodule,
    name: &str,
    of_a: &BTreeMap<String, Tensor>,
    of_b: &BTreeMap<String, Tensor>,
    limit: &Limit,
) -> Result<OutputReport, VerifyError> {
    let wrong = || {
        let [a, b] = [of_a, of_b].map(|all| match all.get(name) {
            Some(tensor) => format!("{} {:?}", tensor.dtype(), tensor.shape()),
            None => "nothing".into(),
        });
        VerifyError::Contract { submodule, port: name.into(), a, b }
    };
    let (Some(Tensor::F32(a)), Some(Tensor::F32(b))) = (of_a.get(name), of_b.get(name)) else {
        return Err(wrong());
    };
    let (Some(a), Some(b)) = (a.as_slice(), b.as_slice()) else { return Err(wrong()) };
    let errors = compare(a, b).map_err(|_| wrong())?;
    let not_finite = [a, b].map(|x| x.iter().filter(|value| !value.is_finite()).count());
    let square: f64 = a.iter().map(|&value| f64::from(value).powi(2)).sum();
    Ok(OutputReport {
        name: name.into(),
        values: a.len(),
        rms: (square / a.len().max(1) as f64).sqrt(),
        rel_l2: errors.rel_l2,
        cosine: errors.cosine,
        max_abs: errors.max_abs,
        not_finite,
        // NaN is below no limit.
        passed: errors.rel_l2 <= limit.rel_l2 && not_finite == [0, 0],
    })
}

/// The first named value, in the order of the graph, that is beyond the limit.
fn first_tap(
    submodule: Submodule,
    ports: &[PortEntry],
    of_a: &BTreeMap<String, Tensor>,
    of_b: &BTreeMap<String, Tensor>,
    limit: &Limit,
) -> Result<Option<OutputReport>, VerifyError> {
    for port in ports.iter().filter(|port| port.name.starts_with(VALUE)) {
        if of_b.contains_key(&port.name) {
            let tap = output(submodule, &port.name, of_a, of_b, limit)?;
            if !tap.passed {
                return Ok(Some(tap));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::EngineFolder;
    use crate::backend::{Backend, BackendError, Session};
    use crate::package::{Folder, Package};
    use crate::request::{Plan, Request};

    /// A backend that nothing is run on.
    struct Nothing;

    impl Backend for Nothing {
        fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
            Err(BackendError::MissingSubmodule { submodule })
        }

        fn check(&self, _: &Request, _: &Plan, _: &Package) -> Result<(), BackendError> {
            Ok(())
        }
    }

    fn side(folder: &Folder) -> Side<'_> {
        Side { name: "B", folder, backend: &Nothing }
    }

    #[test]
    fn profiles_say_which_sizes_both_folders_run() {
        let folder = Folder::open(EngineFolder::new().path()).unwrap();
        let Folder::Engines(engines) = &folder else { panic!("it has engines") };
        let jobs = profile_jobs(engines);
        let twice = [&jobs[..], &jobs[..]].concat();
        assert_eq!(common_jobs(side(&folder), side(&folder), twice).unwrap(), jobs);
        let mut longer = jobs.into_iter().find(|job| job.sizes.contains_key("tokens")).unwrap();
        longer.sizes.insert("tokens".into(), 77);
        let refused = common_jobs(side(&folder), side(&folder), vec![longer]).unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains("has no profile for") && message.contains("tokens=77"),
            "{message}"
        );
        let nothing = common_jobs(side(&folder), side(&folder), vec![]).unwrap_err();
        assert!(matches!(nothing, VerifyError::NothingInCommon));
    }

    #[test]
    fn where_one_side_takes_bf16_both_see_bf16_values() {
        let folder = Folder::open(EngineFolder::new().path()).unwrap();
        let Folder::Engines(engines) = &folder else { panic!("it has engines") };
        let job = profile_jobs(engines)
            .into_iter()
            .find(|job| job.submodule == Submodule::Transformer)
            .unwrap();
        let tensors = made_up(side(&folder), side(&folder), &job).unwrap();
        let rounded = |name: &str| {
            let (_, tensor) = tensors.iter().find(|(port, _)| port == name).unwrap();
            let Tensor::F32(array) = tensor else { panic!("floats") };
            array.iter().all(|&value| bf16::from_f32(value).to_f32() == value)
        };
        assert!(rounded("keys") && !rounded("x"));
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
        assert!(error.contains("A has float [1, tokens], B has float [1, rows]"), "{error}");
        assert!(same(&port("x", DType::I64, "tokens")).is_err());
        assert!(same(&port("y", DType::F32, "tokens")).unwrap_err().contains("B has nothing"));
    }
}
