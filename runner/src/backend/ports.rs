//! What goes into one run and what comes out of it, held against the contract.

use std::collections::BTreeMap;

use bernini_graphs::manifest::PortEntry;
use bernini_graphs::{DType, Submodule};
use ndarray::{Array2, ArrayD, Dimension};

use super::BackendError;
use crate::tensor::Tensor;

/// Outputs of one run by name.
#[derive(Debug)]
pub struct Outputs {
    submodule: Submodule,
    tensors: BTreeMap<String, Tensor>,
}

impl Outputs {
    pub(crate) fn new(submodule: Submodule, tensors: BTreeMap<String, Tensor>) -> Self {
        Self { submodule, tensors }
    }

    /// Takes the output called `name`.
    pub fn take(&mut self, name: &str) -> Result<Tensor, BackendError> {
        let missing = || BackendError::MissingPort { submodule: self.submodule, name: name.into() };
        self.tensors.remove(name).ok_or_else(missing)
    }

    /// Takes the f32 output called `name`, whose rank is that of `D`.
    pub fn take_f32<D: Dimension>(
        &mut self,
        name: &str,
    ) -> Result<ndarray::Array<f32, D>, BackendError> {
        let tensor = self.take(name)?;
        let expected = format!("f32 of rank {}", D::NDIM.unwrap_or_default());
        let wrong = self.wrong(name, expected, &tensor);
        match tensor.into_host()? {
            Tensor::F32(array) => array.into_dimensionality().map_err(|_| wrong),
            _ => Err(wrong),
        }
    }

    /// Takes the first `rows` rows of the f32 output called `name` of shape `[1, n, width]`.
    pub fn take_f32_rows(&mut self, name: &str, rows: usize) -> Result<Array2<f32>, BackendError> {
        let tensor = self.take(name)?;
        let wrong = self.wrong(name, format!("f32 [1, {rows} or more, width]"), &tensor);
        let &[1, _, _] = tensor.shape() else { return Err(wrong) };
        tensor.first_rows(rows)?.ok_or(wrong)
    }

    fn wrong(&self, name: &str, expected: String, found: &Tensor) -> BackendError {
        let found = format!("{} {:?}", found.dtype(), found.shape());
        BackendError::Port { submodule: self.submodule, name: name.into(), expected, found }
    }

    /// The outputs whose names begin with `prefix`, without it.
    pub fn take_prefixed(&mut self, prefix: &str) -> BTreeMap<String, Tensor> {
        let names: Vec<_> =
            self.tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        let take =
            |name: &String| Some((name[prefix.len()..].to_string(), self.tensors.remove(name)?));
        names.iter().filter_map(take).collect()
    }
}

/// Compares what a caller feeds with what the contract says: names, types, ranks, fixed sizes.
pub(crate) fn check_inputs(
    submodule: Submodule,
    contract: &[PortEntry],
    inputs: &[(&str, &Tensor)],
) -> Result<(), BackendError> {
    for port in contract {
        let missing = || BackendError::MissingPort { submodule, name: port.name.clone() };
        let (_, tensor) = inputs.iter().find(|(name, _)| *name == port.name).ok_or_else(missing)?;
        let fits = port.shape.len() == tensor.shape().len()
            && port
                .shape
                .iter()
                .zip(tensor.shape())
                .all(|(dim, size)| dim.parse::<usize>().map_or(true, |fixed| fixed == *size));
        let typed = match tensor {
            Tensor::Device(tensor) => tensor.dtype() == port.dtype,
            host => port.dtype.is_float() == (host.dtype() == DType::F32),
        };
        if !fits || !typed {
            return Err(BackendError::Port {
                submodule,
                name: port.name.clone(),
                expected: format!("{} [{}]", port.dtype, port.shape.join(", ")),
                found: format!("{} {:?}", tensor.dtype(), tensor.shape()),
            });
        }
    }
    match inputs.iter().find(|(name, _)| contract.iter().all(|port| port.name != *name)) {
        Some((name, _)) => Err(BackendError::UnknownPort { submodule, name: (*name).to_string() }),
        None => Ok(()),
    }
}

/// Copies an f32 array out of a backend's memory.
pub(crate) fn owned(array: ndarray::ArrayViewD<'_, f32>) -> ArrayD<f32> {
    array.as_standard_layout().into_owned()
}
