//! What runs a submodule. The pipeline knows only these traits.

mod onnxruntime;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bernini_graphs::manifest::PortEntry;
use bernini_graphs::{DType, Submodule};
use ndarray::{ArrayD, Dimension};

pub use onnxruntime::{OnnxRuntime, library as onnxruntime_library};

use crate::tensor::Tensor;

/// Loads submodules.
pub trait Backend {
    /// A session that is ready to run.
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError>;
}

/// One loaded submodule.
pub trait Session {
    /// Runs once: every input of the contract by name, every output of it back.
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError>;
}

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
        let submodule = self.submodule;
        let tensor = self.take(name)?;
        let shape = tensor.shape().to_vec();
        let wrong = || BackendError::Port {
            submodule,
            name: name.into(),
            expected: format!("f32 of rank {}", D::NDIM.unwrap_or_default()),
            found: format!("{shape:?}"),
        };
        match tensor {
            Tensor::F32(array) => array.into_dimensionality().map_err(|_| wrong()),
            Tensor::I64(_) => Err(wrong()),
        }
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
        let float = port.dtype.is_float() == (tensor.dtype() == DType::F32);
        if !fits || !float {
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

/// Why a submodule could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The ONNX Runtime library is not where we look.
    #[error(
        "ONNX Runtime not found: looked for {}; run `./x setup`, or set ORT_DYLIB_PATH to \
         libonnxruntime.so of version 1.24 or later",
        tried.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    LibraryMissing {
        /// Every place that was tried.
        tried: Vec<PathBuf>,
    },
    /// The ONNX Runtime library is there but does not load.
    #[error("{} does not load as ONNX Runtime: {reason}; run `./x setup`", path.display())]
    LibraryBroken {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// ONNX Runtime refuses a graph or fails in it.
    #[error("{submodule}: ONNX Runtime failed to {action}: {reason}")]
    OnnxRuntime {
        /// Which graph.
        submodule: Submodule,
        /// `load` or `run`.
        action: &'static str,
        /// Its own words.
        reason: String,
    },
    /// The folder does not hold the submodule.
    #[error("the export holds no {submodule}; export the checkpoint again")]
    MissingSubmodule {
        /// Which one.
        submodule: Submodule,
    },
    /// A port of the contract is not there.
    #[error("{submodule}: no port {name}")]
    MissingPort {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the port.
        name: String,
    },
    /// An input that the contract does not know.
    #[error("{submodule}: unknown input {name}")]
    UnknownPort {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the input.
        name: String,
    },
    /// A tensor does not fit its port.
    #[error("{submodule}: port {name}: expected {expected}, found {found}")]
    Port {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the port.
        name: String,
        /// Type and shape of the contract.
        expected: String,
        /// Type and shape of the tensor.
        found: String,
    },
}
