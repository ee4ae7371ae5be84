//! Level A: one submodule in A and in others on equal, made-up inputs.

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
use crate::bench::Job;
use crate::inputs;
use crate::tensor::Tensor;

/// One job in A, for all folders that are compared with it.
pub struct ModuleReference<'a> {
    a: Side<'a>,
    job: &'a Job,
    /// What every side sees.
    inputs: Vec<(String, Tensor)>,
    /// What every side's context sees, whose keys and values then replace those inputs.
    context: Option<(Submodule, Vec<(String, Tensor)>)>,
    inputs_of_a: Vec<(String, Tensor)>,
    outputs_of_a: BTreeMap<String, Tensor>,
}

impl<'a> ModuleReference<'a> {
    /// Runs `job`, which is one of [`common_jobs`](super::common_jobs) of A and each of `others`, in A. With
    /// `own_contexts`, an expert takes keys and values of its own folder's context, not made-up ones:
    /// where folders are re-balanced differently, the same numbers mean different things to them.
    ///
    /// # Errors
    /// Those of the backend; [`VerifyError::Contract`] where sizes are missing.
    pub fn run(
        a: Side<'a>,
        others: &[Side<'_>],
        job: &'a Job,
        own_contexts: bool,
    ) -> Result<Self, VerifyError> {
        let sides = [&[a], others].concat();
        let inputs = made_up(&sides, job.submodule, job)?;
        let context = context_of(job.submodule).filter(|_| own_contexts);
        let context = context.map(|context| Ok((context, made_up(&sides, context, job)?)));
        let context = context.transpose()?;
        let mut reference =
            Self { a, job, inputs, context, inputs_of_a: vec![], outputs_of_a: BTreeMap::new() };
        reference.inputs_of_a = reference.inputs_of(a)?;
        reference.outputs_of_a = a.run(job.submodule, &reference.inputs_of_a)?;
        Ok(reference)
    }

    fn inputs_of(&self, side: Side<'_>) -> Result<Vec<(String, Tensor)>, VerifyError> {
        let mut inputs = self.inputs.clone();
        if let Some((context, embeds)) = &self.context {
            let mut made = side.run(*context, embeds)?;
            for (name, tensor) in &mut inputs {
                if [KEYS, VALUES].contains(&name.as_str())
                    && let Some(own) = made.remove(name)
                {
                    *tensor = own;
                }
            }
        }
        Ok(inputs)
    }

    /// Runs the job in `other` and measures every output.
    ///
    /// # Errors
    /// Those of the backend; [`VerifyError::Contract`] where outputs differ in shape.
    pub fn compare(&self, other: Side<'_>, limit: &Limit) -> Result<ModuleReport, VerifyError> {
        let (submodule, of_a) = (self.job.submodule, &self.outputs_of_a);
        let inputs = self.inputs_of(other)?;
        let found = other.run(submodule, &inputs)?;
        let ports = self.a.outputs(submodule).unwrap_or_default();
        let measure = |name: &str| output(submodule, name, of_a, &found, limit);
        let outputs: Vec<OutputReport> =
            contract(ports).iter().map(|port| measure(&port.name)).collect::<Result<_, _>>()?;
        let taps = ports.iter().map(|port| port.name.as_str());
        let taps = taps.filter(|name| name.starts_with(VALUE) && found.contains_key(*name));
        let layers: Vec<OutputReport> = taps.map(measure).collect::<Result<_, _>>()?;
        let passed = outputs.iter().all(|output| output.passed);
        let sides = [(self.a, &self.inputs_of_a[..]), (other, &inputs[..])];
        let first_beyond = match layers.iter().find(|layer| !layer.passed) {
            _ if passed => None,
            Some(tap) => Some(tap.clone()),
            None => first_layer(sides, submodule, limit)?,
        };
        let sizes = describe(&self.job.sizes);
        Ok(ModuleReport { submodule, sizes, outputs, layers, passed, first_beyond })
    }
}

/// Inputs that all sides see alike: where one of them takes bf16, values are bf16 values.
fn made_up(
    sides: &[Side<'_>],
    submodule: Submodule,
    job: &Job,
) -> Result<Vec<(String, Tensor)>, VerifyError> {
    let ports = |side: &Side<'_>| side.inputs(submodule).unwrap_or_default().to_vec();
    let all: Vec<Vec<PortEntry>> = sides.iter().map(ports).collect();
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
    use super::super::jobs::tests::side;
    use super::super::profile_jobs;
    use super::*;
    use crate::backend::testing::EngineFolder;
    use crate::package::Folder;

    #[test]
    fn where_one_side_takes_bf16_both_see_bf16_values() {
        let folder = Folder::open(EngineFolder::new().path()).unwrap();
        let Folder::Engines(engines) = &folder else { panic!("it has engines") };
        let job = profile_jobs(engines)
            .into_iter()
            .find(|job| job.submodule == Submodule::Transformer)
            .unwrap();
        let tensors = made_up(&[side(&folder)], job.submodule, &job).unwrap();
        let rounded = |name: &str| {
            let (_, tensor) = tensors.iter().find(|(port, _)| port == name).unwrap();
            let Tensor::F32(array) = tensor else { panic!("floats") };
            array.iter().all(|&value| bf16::from_f32(value).to_f32() == value)
        };
        assert!(rounded("keys") && !rounded("x"));
    }
}
