//! What is compared before TensorRT sees an engine: machine, plugin, bytes of the plan, contract.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bernini_graphs::engines::{EngineEntry, GpuEntry, PluginEntry};
use bernini_graphs::manifest::{FileEntry, PortEntry};
use bernini_graphs::{DType, Submodule};
use bernini_tensorrt::{DataType, EngineTensor, PluginLibrary};
use rayon::prelude::*;

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

/// The plugin library to load, where engines need one: it must be the one that they were built with.
pub(super) fn check_plugin(
    engines: &Engines,
    found: Option<PluginLibrary>,
) -> Result<Option<PluginLibrary>, EngineError> {
    let folder = || engines.folder().to_path_buf();
    let mut needed = false;
    for submodule in Submodule::ALL {
        let Some(entry) = engines.engine(submodule) else { continue };
        let Some(PluginEntry { file, blake3 }) = &entry.plugin else { continue };
        match &found {
            Some(library) if library.blake3 == *blake3 => needed = true,
            Some(library) => {
                let (path, found) = (library.path.clone(), library.blake3.clone());
                let (folder, expected) = (folder(), blake3.clone());
                return Err(EngineError::OtherPlugin { folder, submodule, expected, path, found });
            }
            None => {
                let (folder, file, blake3) = (folder(), file.clone(), blake3.clone());
                return Err(EngineError::NoPlugin { folder, submodule, file, blake3 });
            }
        }
    }
    Ok(found.filter(|_| needed))
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
    let plan = read(path, entry.bytes as usize).map_err(io)?;
    let hash = blake3::Hasher::new().update_rayon(&plan).finalize().to_hex();
    if hash.as_str() != entry.blake3 {
        return damaged(format!("blake3 {}", entry.blake3), hash.to_string());
    }
    Ok(plan)
}

/// Reads a file of `bytes` bytes on all cores: one alone copies more slowly than fast disks read.
fn read(path: &Path, bytes: usize) -> io::Result<Vec<u8>> {
    const PART: usize = 64 << 20;
    let file = File::open(path)?;
    let mut content = vec![0; bytes];
    let parts = content.par_chunks_mut(PART).enumerate();
    parts.try_for_each(|(index, part)| file.read_exact_at(part, (index * PART) as u64))?;
    Ok(content)
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

#[cfg(test)]
mod tests {
    use super::super::testing::EngineFolder;
    use super::*;

    fn open(made: &EngineFolder) -> Engines {
        Engines::open(made.path()).unwrap()
    }

    #[test]
    fn uncalibrated_engines_run_only_on_request() {
        let made = EngineFolder::edited(|manifest| manifest.uncalibrated = true);
        let error = check_calibrated(&open(&made), false).unwrap_err().to_string();
        assert!(error.contains("--allow-uncalibrated"), "{error}");
        check_calibrated(&open(&made), true).unwrap();
        check_calibrated(&open(&EngineFolder::new()), false).unwrap();
    }

    #[test]
    fn another_gpu_or_tensorrt_is_refused_by_name() {
        let made = EngineFolder::new();
        let check = |version, name, capability| {
            check_machine(&open(&made), version, name, capability).map_err(|e| e.to_string())
        };
        check("10.6.0", "NVIDIA H200", (9, 0)).unwrap();
        let version = check("10.7.0", "NVIDIA H200", (9, 0)).unwrap_err();
        assert!(version.contains("TensorRT 10.6.0, this machine has 10.7.0"), "{version}");
        for (name, capability) in [("NVIDIA H100", (9, 0)), ("NVIDIA H200", (10, 0))] {
            let error = check("10.6.0", name, capability).unwrap_err();
            assert!(error.contains("built on NVIDIA H200 (9.0)"), "{error}");
            assert!(error.contains("bernini build"), "{error}");
        }
    }

    #[test]
    fn engines_run_with_the_plugin_that_they_were_built_with() {
        let library = |blake3: &str| PluginLibrary { path: "/p.so".into(), blake3: blake3.into() };
        let none = open(&EngineFolder::new());
        assert_eq!(check_plugin(&none, None).unwrap(), None);
        assert_eq!(check_plugin(&none, Some(library("aa"))).unwrap(), None);
        let made = EngineFolder::edited(|manifest| {
            let plugin = PluginEntry { file: "libbernini_plugin.so".into(), blake3: "aa".into() };
            manifest.engines.get_mut("transformer_2").unwrap().plugin = Some(plugin);
        });
        let check = |found| check_plugin(&open(&made), found).map_err(|error| error.to_string());
        assert_eq!(check(Some(library("aa"))).unwrap(), Some(library("aa")));
        let missing = check(None).unwrap_err();
        assert!(missing.contains("libbernini_plugin.so (blake3 aa), which is not"), "{missing}");
        let other = check(Some(library("bb"))).unwrap_err();
        assert!(other.contains("transformer_2 was built with a plugin of blake3 aa"), "{other}");
        assert!(other.contains("/p.so has bb; set BERNINI_PLUGIN"), "{other}");
    }

    #[test]
    fn a_truncated_or_flipped_plan_is_refused() {
        let made = EngineFolder::new();
        let (path, entry) = made.plan(Submodule::Transformer);
        let whole = read_plan(&path, &entry).unwrap();
        assert_eq!(whole, b"transformer");
        fs::write(&path, &whole[..7]).unwrap();
        let error = read_plan(&path, &entry).unwrap_err().to_string();
        assert!(error.contains("expected 11 bytes, found 7"), "{error}");
        let mut flipped = whole;
        flipped[3] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let error = read_plan(&path, &entry).unwrap_err().to_string();
        assert!(error.contains("blake3") && error.contains("damaged"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(matches!(read_plan(&path, &entry), Err(EngineError::Io { .. })));
    }

    #[test]
    fn an_engine_must_have_the_tensors_of_the_manifest() {
        let made = EngineFolder::new();
        let entry = &made.manifest.engines["transformer"];
        let tensor = |name: &str, dtype, input, rank| EngineTensor {
            name: name.into(),
            dtype,
            input,
            host: false,
            shape: vec![-1; rank],
        };
        let whole = [
            tensor("x", DataType::F32, true, 2),
            tensor("keys", DataType::Bf16, true, 1),
            tensor("y", DataType::F32, false, 2),
        ];
        let check = |tensors: &[EngineTensor], profiles| {
            check_contract(Submodule::Transformer, entry, tensors, profiles)
                .map_err(|error| error.to_string())
        };
        check(&whole, 2).unwrap();
        let changed = |index: usize, tensor| {
            let mut tensors = whole.to_vec();
            tensors[index] = tensor;
            check(&tensors, 2).unwrap_err()
        };
        let error = changed(1, tensor("keys", DataType::F32, true, 1));
        assert!(error.contains("keys: the manifest says input bf16 of rank 1"), "{error}");
        assert!(error.contains("the engine input f32 of rank 1"), "{error}");
        assert!(changed(2, tensor("y", DataType::F32, true, 2)).contains("port y"));
        assert!(changed(0, tensor("x", DataType::F32, true, 3)).contains("port x"));
        let more = [&whole[..], &[tensor("z", DataType::I64, true, 1)]].concat();
        assert!(check(&more, 2).unwrap_err().contains("port z: the manifest says nothing"));
        assert!(check(&whole[..2], 2).unwrap_err().contains("port y"));
        assert!(check(&whole, 3).unwrap_err().contains("2 profiles"));
    }
}
