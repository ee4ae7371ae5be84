//! ONNX Runtime on CPU: the embedded default, and the reference for everything faster.

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bernini_graphs::manifest::{PortEntry, PrecisionName, SubmoduleEntry};
use bernini_graphs::{DType, Layer, OnnxFile, Submodule};
use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use ort::session::{Session as OrtSession, SessionInputValue};
use ort::value::TensorRef;

use super::{Backend, BackendError, Outputs, Session, check_inputs, owned};
use crate::export::Export;
use crate::memory;
use crate::package::Package;
use crate::request::{Plan, Request};
use crate::tensor::Tensor;

/// Version that `./x setup` installs.
const VERSION: &str = "1.32.0";

/// Option that says where the weights of a model lie that is not read from a file.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// The library's environment, of which a process may have one.
static ENVIRONMENT: Mutex<Option<Arc<Environment>>> = Mutex::new(None);

/// Runs the graphs of an export folder.
pub struct OnnxRuntime {
    environment: Arc<Environment>,
    export: Export,
}

impl OnnxRuntime {
    /// Loads the library; graphs are loaded one by one, when asked for.
    pub fn new(export: Export) -> Result<Self, BackendError> {
        Ok(Self { environment: environment()?, export })
    }

    /// The layers of a graph, in the order in which they end.
    pub fn layers(&self, submodule: Submodule) -> Result<Vec<Layer>, BackendError> {
        Ok(self.file(submodule)?.layers())
    }

    /// A session that gives the f32 value called `value`, and nothing else.
    pub fn load_value(
        &self,
        submodule: Submodule,
        value: &str,
    ) -> Result<Box<dyn Session>, BackendError> {
        let entry = self.entry(submodule)?;
        let failed = |e: ort::Error| {
            let reason = e.to_string();
            BackendError::OnnxRuntime { submodule, action: "load", reason }
        };
        let graph = self.file(submodule)?.with_output(value);
        let session = self
            .builder()
            .and_then(|builder| {
                let folder = self.export.folder().to_string_lossy();
                Ok(builder.with_config_entry(WEIGHTS_FOLDER, folder)?)
            })
            .and_then(|mut builder| builder.commit_from_memory(&graph))
            .map_err(failed)?;
        let output = PortEntry { name: value.into(), dtype: DType::F32, shape: vec![] };
        let (inputs, outputs) = (entry.inputs.clone(), vec![output]);
        Ok(Box::new(OnnxRuntimeSession { submodule, session, inputs, outputs }))
    }

    /// Settings of every session. f32 weights stay where the system maps their file: folding would
    /// write each transposed weight anew, and packing once more, which took 39 of the 74 s of a
    /// request of two layers per stack. Products read a transposed weight as it lies, 14 % slower.
    /// E4M3 weights are folded to f32, once.
    fn builder(&self) -> ort::Result<SessionBuilder> {
        let builder = OrtSession::builder(&self.environment)?;
        if self.export.manifest().precision != PrecisionName::F32 {
            return Ok(builder);
        }
        Ok(builder.with_disabled_optimizers("ConstantFolding")?.with_prepacking(false)?)
    }

    fn entry(&self, submodule: Submodule) -> Result<&SubmoduleEntry, BackendError> {
        let missing = BackendError::MissingSubmodule { submodule };
        self.export.manifest().submodules.get(submodule.stem()).ok_or(missing)
    }

    fn file(&self, submodule: Submodule) -> Result<OnnxFile, BackendError> {
        let path = self.export.path(&self.entry(submodule)?.graph);
        let failed = |reason: String| {
            let reason = format!("{}: {reason}", path.display());
            BackendError::OnnxRuntime { submodule, action: "load", reason }
        };
        let bytes = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        OnnxFile::parse(&bytes).map_err(|e| failed(e.to_string()))
    }
}

fn environment() -> Result<Arc<Environment>, BackendError> {
    let mut shared = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*shared {
        return Ok(Arc::clone(environment));
    }
    let path = library()?;
    let broken = |reason: String| BackendError::LibraryBroken { path: path.clone(), reason };
    let builder = ort::init_from(&path).map_err(|e| broken(e.to_string()))?;
    let environment = builder.with_name("bernini").build().map_err(|e| broken(e.to_string()))?;
    Ok(Arc::clone(shared.insert(Arc::new(environment))))
}

/// The ONNX Runtime library: `ORT_DYLIB_PATH`, else where `./x setup` puts it.
pub fn library() -> Result<PathBuf, BackendError> {
    let mut tried = vec![];
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        tried.push(PathBuf::from(path));
    } else {
        let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
        let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let file = format!("bernini/onnxruntime-{VERSION}/libonnxruntime.so");
        tried.extend(cache.map(PathBuf::from).or(home).map(|cache| cache.join(file)));
    }
    match tried.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(BackendError::LibraryMissing { tried }),
    }
}

impl Backend for OnnxRuntime {
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
        let entry = self.entry(submodule)?;
        let path = self.export.path(&entry.graph);
        let failed =
            |reason: String| BackendError::OnnxRuntime { submodule, action: "load", reason };
        let session = self
            .builder()
            .and_then(|mut builder| builder.commit_from_file(path))
            .map_err(|e| failed(e.to_string()))?;
        let (inputs, outputs) = (entry.inputs.clone(), entry.outputs.clone());
        Ok(Box::new(OnnxRuntimeSession { submodule, session, inputs, outputs }))
    }

    fn check(&self, _: &Request, plan: &Plan, package: &Package) -> Result<(), BackendError> {
        match memory::available() {
            Some(available) => Ok(memory::check(plan, package.configs(), available)?),
            None => Ok(()),
        }
    }
}

struct OnnxRuntimeSession {
    submodule: Submodule,
    session: OrtSession,
    inputs: Vec<PortEntry>,
    outputs: Vec<PortEntry>,
}

impl OnnxRuntimeSession {
    fn failed(submodule: Submodule, reason: String) -> BackendError {
        BackendError::OnnxRuntime { submodule, action: "run", reason }
    }
}

impl Session for OnnxRuntimeSession {
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
        check_inputs(self.submodule, &self.inputs, inputs)?;
        let submodule = self.submodule;
        let failed = |e: ort::Error| Self::failed(submodule, e.to_string());
        let mut feed: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            let value = match tensor {
                Tensor::F32(array) => {
                    TensorRef::from_array_view(array.view()).map_err(failed)?.into()
                }
                Tensor::I64(array) => {
                    TensorRef::from_array_view(array.view()).map_err(failed)?.into()
                }
                Tensor::Device(_) => {
                    return Err(BackendError::Port {
                        submodule,
                        name: (*name).into(),
                        expected: "a tensor in host memory".into(),
                        found: format!("{tensor:?}"),
                    });
                }
            };
            feed.push((name, value));
        }
        let outputs = self.session.run(feed).map_err(failed)?;
        let mut tensors = std::collections::BTreeMap::new();
        for port in &self.outputs {
            let missing = BackendError::MissingPort { submodule, name: port.name.clone() };
            let value = outputs.get(&port.name).ok_or(missing)?;
            let array = value.try_extract_array::<f32>().map_err(failed)?;
            tensors.insert(port.name.clone(), Tensor::F32(owned(array)));
        }
        Ok(Outputs::new(submodule, tensors))
    }
}
