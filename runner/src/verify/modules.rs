//! Level A: one submodule in A and in others on equal, made-up inputs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bernini_calibration::error::compare;
use bernini_graphs::manifest::PortEntry;
use bernini_graphs::submodule::transformer::{KEYS, VALUES};
use bernini_graphs::taps::VALUE;
use bernini_graphs::{DType, Submodule};
use half::bf16;

use super::first_layer::first_layer;
use super::jobs::{context_of, contract, describe};
use super::{Limit, ModuleReport, OutputReport, Side, VerifyError};
use crate::backend::Backend;
use crate::bench::Job;
use crate::inputs;
use crate::package::Folder;
use crate::tensor::Tensor;

/// One job in A, for all folders that are compared with it; what ran A is not needed any more.
pub struct ModuleReference {
    a: Folder,
    job: Job,
    /// What every side sees.
    inputs: Vec<(String, Tensor)>,
    /// What every side's context sees, whose keys and values then replace those inputs.
    context: Option<(Submodule, Vec<(String, Tensor)>)>,
    /// What A sees, where those made them other than `inputs`.
    inputs_of_a: Option<Vec<(String, Tensor)>>,
    outputs_of_a: BTreeMap<String, Tensor>,
}

impl ModuleReference {
    /// Runs `job`, which is one of [`common_jobs`](super::common_jobs), in A. With `own_contexts`, an
    /// expert takes keys and values of its own folder's context, not made-up ones: where folders are
    /// re-balanced differently, the same numbers mean different things to them.
    ///
    /// # Errors
    /// Those of the backend; [`VerifyError::Contract`] where sizes are missing.
    pub fn run(
        a: &Folder,
        backend: &dyn Backend,
        others: &[&Folder],
        job: &Job,
        own_contexts: bool,
    ) -> Result<Self, VerifyError> {
        let folders = [&[a], others].concat();
        let inputs = made_up(&folders, job.submodule, job)?;
        let context = context_of(job.submodule).filter(|_| own_contexts);
        let context = context.map(|context| Ok((context, made_up(&folders, context, job)?)));
        let context = context.transpose()?;
        let (inputs_of_a, outputs_of_a) = (None, BTreeMap::new());
        let (a, job) = (a.clone(), job.clone());
        let mut reference = Self { a, job, inputs, context, inputs_of_a, outputs_of_a };
        let side = Side { name: "A", folder: &reference.a };
        let seen = reference.inputs_of(side, backend)?;
        let outputs = side.run(backend, reference.job.submodule, &seen)?;
        if let Cow::Owned(seen) = seen {
            reference.inputs_of_a = Some(seen);
        }
        reference.outputs_of_a = outputs;
        Ok(reference)
    }

    fn inputs_of(
        &self,
        side: Side<'_>,
        backend: &dyn Backend,
    ) -> Result<Cow<'_, [(String, Tensor)]>, VerifyError> {
        let Some((context, embeds)) = &self.context else { return Ok((&self.inputs[..]).into()) };
        let mut made = side.run(backend, *context, embeds)?;
        let mut inputs = self.inputs.clone();
        for (name, tensor) in &mut inputs {
            if [KEYS, VALUES].contains(&name.as_str())
                && let Some(own) = made.remove(name)
            {
                *tensor = own;
            }
        }
        Ok(inputs.into())
    }

    /// The job's submodule and sizes.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Runs the job in `other` and measures every output.
    ///
    /// # Errors
    /// Those of the backend; [`VerifyError::Contract`] where outputs differ in shape.
    pub fn compare(
        &self,
        other: Side<'_>,
        backend: &dyn Backend,
        limit: &Limit,
    ) -> Result<ModuleReport, VerifyError> {
        let (submodule, of_a) = (self.job.submodule, &self.outputs_of_a);
        let inputs = self.inputs_of(other, backend)?;
        let found = other.run(backend, submodule, &inputs)?;
        let a = Side { name: "A", folder: &self.a };
        let ports = a.outputs(submodule).unwrap_or_default();
        let measure = |name: &str| output(submodule, name, of_a, &found, limit);
        let outputs: Vec<OutputReport> =
            contract(ports).iter().map(|port| measure(&port.name)).collect::<Result<_, _>>()?;
        let taps = ports.iter().map(|port| port.name.as_str());
        let taps = taps.filter(|name| name.starts_with(VALUE) && found.contains_key(*name));
        let layers: Vec<OutputReport> = taps.map(measure).collect::<Result<_, _>>()?;
        let passed = outputs.iter().all(|output| output.passed);
        let inputs_of_a = self.inputs_of_a.as_ref().unwrap_or(&self.inputs);
        let sides = [(a, &inputs_of_a[..]), (other, &inputs[..])];
        let first_beyond = match layers.iter().find(|layer| !layer.passed) {
            _ if passed => None,
            Some(tap) => Some(tap.clone()),
            None => first_layer(sides, submodule, limit)?,
        };
        let sizes = describe(&self.job.sizes);
        Ok(ModuleReport { submodule, sizes, outputs, layers, passed, first_beyond })
    }
}

/// Inputs that all folders see alike: where one of them takes bf16, values are bf16 values.
fn made_up(
    folders: &[&Folder],
    submodule: Submodule,
    job: &Job,
) -> Result<Vec<(String, Tensor)>, VerifyError> {
    let inputs = |folder: &&Folder| folder.submodule(submodule).map(|entry| entry.inputs.to_vec());
    let all: Vec<Vec<PortEntry>> = folders.iter().filter_map(inputs).collect();
    let of_a = all.first().map(Vec::as_slice).unwrap_or_default();
    let mut tensors = inputs::random(of_a, &job.sizes).ok_or_else(|| {
        let (a, b) = (shapes(of_a), "no size for one of them".into());
        VerifyError::Contract { submodule, port: describe(&job.sizes), a, b }
    })?;
    for (name, tensor) in &mut tensors {
        let mut same = all.iter().flatten().filter(|port| port.name == *name);
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

#[cfg(test)]
mod tests {
    use super::super::profile_jobs;
    use super::*;
    use crate::backend::testing::EngineFolder;

    #[test]
    fn where_one_side_takes_bf16_both_see_bf16_values() {
        let folder = Folder::open(EngineFolder::new().path()).unwrap();
        let Folder::Engines(engines) = &folder else { panic!("it has engines") };
        let job = profile_jobs(engines)
            .into_iter()
            .find(|job| job.submodule == Submodule::Transformer)
            .unwrap();
        let tensors = made_up(&[&folder], job.submodule, &job).unwrap();
        let rounded = |name: &str| {
            let (_, tensor) = tensors.iter().find(|(port, _)| port == name).unwrap();
            let Tensor::F32(array) = tensor else { panic!("floats") };
            array.iter().all(|&value| bf16::from_f32(value).to_f32() == value)
        };
        assert!(rounded("keys") && !rounded("x"));
    }
}
