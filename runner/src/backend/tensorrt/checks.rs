//! What is compared before TensorRT sees an engine: machine, bytes of the plan, contract.

use std::fs;
use std::path::Path;

use bernini_graphs::engines::{EngineEntry, GpuEntry};
use bernini_graphs::manifest::{FileEntry, PortEntry};
use bernini_graphs::{DType, Submodule};
use bernini_tensorrt::{DataType, EngineTensor};

use super::EngineError;
use crate::engines::Engines;

/// Refuses engines with made-up scales, unless they are asked for.
pub(super) fn check_calibrated(engines: &Engines, allowed: bool) -> Result<(), EngineError> {
    if engines.manifest().uncalibrated && !allowed {
        return Err(EngineError::Uncalibrated { folder: engines.folder().into() });
    }
    Ok(())
}

/// Refuses engines of another TensorRT or another GPU.
pub(super) fn check_machine(
    engines: &Engines,
    tensorrt: &str,
    name: &str,
    capability: (u32, u32),
) -> Result<(), EngineError> {
    let (manifest, folder) = (engines.manifest(), engines.folder());
    let (expected, found) = (manifest.tensorrt.clone(), tensorrt.to_string());
    if expected != found {
        return Err(EngineError::Version { folder: folder.into(), expected, found });
    }
    let GpuEntry { name: built_on, compute_capability, .. } = &manifest.gpu;
    let capability = format!("{}.{}", capability.0, capability.1);
    if (built_on.as_str(), compute_capability) != (name, &capability) {
        return Err(EngineError::Gpu {
            folder: folder.into(),
            expected: format!("{built_on} ({compute_capability})"),
            found: format!("{name} ({capability})"),
        });
    }
    Ok(())
}

/// Reads a plan that has the size and the hash of the manifest.
pub(super) fn read_plan(path: &Path, entry: &FileEntry) -> Result<Vec<u8>, EngineError> {
    let io = |source| EngineError::Io { path: path.into(), source };
    let damaged = |expected: String, found: String| {
        Err(EngineError::Damaged { path: path.into(), expected, found })
    };
    let found = fs::metadata(path).map_err(io)?.len();
    if found != entry.bytes {
        return damaged(format!("{} bytes", entry.bytes), found.to_string());
    }
    let plan = fs::read(path).map_err(io)?;
    let hash = blake3::Hasher::new().update_rayon(&plan).finalize().to_hex();
    if hash.as_str() != entry.blake3 {
        return damaged(format!("blake3 {}", entry.blake3), hash.to_string());
    }
    Ok(plan)
}

/// Compares an engine's tensors and profiles with those of the manifest.
pub(super) fn check_contract(
    submodule: Submodule,
    entry: &EngineEntry,
    tensors: &[EngineTensor],
    profiles: usize,
) -> Result<(), EngineError> {
    let differ = |name: &str, expected: String, found: String| {
        Err(EngineError::Contract { submodule, name: name.into(), expected, found })
    };
    let inputs = entry.inputs.iter().map(|port| (port, true));
    let ports: Vec<_> = inputs.chain(entry.outputs.iter().map(|port| (port, false))).collect();
    for &(port, input) in &ports {
        let found = tensors.iter().find(|tensor| tensor.name == port.name);
        let expected = port_text(port, input);
        match found.map(tensor_text) {
            Some(found) if found == expected => {}
            found => return differ(&port.name, expected, found.unwrap_or("nothing".into())),
        }
    }
    if let Some(tensor) = tensors.iter().find(|t| ports.iter().all(|(p, _)| p.name != t.name)) {
        return differ(&tensor.name, "nothing".into(), tensor_text(tensor));
    }
    if profiles != entry.profiles.len() {
        let count = |n: usize| format!("{n} profiles");
        return differ("(all)", count(entry.profiles.len()), count(profiles));
    }
    Ok(())
}

fn port_text(port: &PortEntry, input: bool) -> String {
    text(input, &port.dtype.to_string(), port.shape.len())
}

fn tensor_text(tensor: &EngineTensor) -> String {
    let dtype = match tensor.dtype {
        DataType::F32 => DType::F32.to_string(),
        DataType::Bf16 => DType::Bf16.to_string(),
        DataType::Fp8 => DType::E4m3.to_string(),
        DataType::I64 => DType::I64.to_string(),
        other => format!("{other:?}"),
    };
    text(tensor.input, &dtype, tensor.shape.len())
}

fn text(input: bool, dtype: &str, rank: usize) -> String {
    format!("{} {dtype} of rank {rank}", if input { "input" } else { "output" })
}
