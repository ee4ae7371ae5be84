//! An export without a model, and a compiler without a GPU.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bernini_graphs::engines::{ENGINES_MANIFEST, EnginesManifest, GpuEntry};
use bernini_graphs::manifest::{
    EXPORT_MANIFEST, EXPORT_SCHEMA, ExportManifest, FileEntry, PortEntry, PrecisionName,
    SubmoduleEntry, Variant, WorkEntry,
};
use bernini_graphs::{DType, Submodule};
use tempfile::TempDir;

use crate::build::Options;
use crate::compiler::{CompileError, Compiled, Compiler, Job, Watch};
use crate::files;
use crate::key::{Flags, Platform};
use crate::plugin::model;

/// Folders of an export and of engines.
pub(crate) struct Folders {
    folder: TempDir,
}

impl Folders {
    pub(crate) fn new() -> Self {
        let folders = Self { folder: TempDir::new().unwrap() };
        folders.write_export("seed");
        folders
    }

    pub(crate) fn export(&self) -> PathBuf {
        self.folder.path().join("export")
    }

    pub(crate) fn engines(&self) -> PathBuf {
        self.folder.path().join("engines")
    }

    pub(crate) fn options(&self, workloads: &[&str]) -> Options {
        Options {
            export: self.export(),
            engines: self.engines(),
            workloads: workloads.iter().map(|name| name.parse().unwrap()).collect(),
            only: vec![],
            flags: Flags::default(),
            plugin: None,
            timing_cache: None,
        }
    }

    /// Text encoder, one expert and half a VAE, whose weights and configs depend on `seed`.
    pub(crate) fn write_export(&self, seed: &str) {
        let _ = fs::remove_dir_all(self.export());
        self.edit_export(|_| {}, seed);
    }

    fn edit_export(&self, edit: impl Fn(&mut ExportManifest), seed: &str) {
        let root = self.export();
        let port = |name: &str, shape: &[&str]| PortEntry {
            name: name.into(),
            dtype: DType::F32,
            shape: shape.iter().map(|axis| axis.to_string()).collect(),
        };
        let of = |submodule: Submodule, input, output| {
            let name = |end: &str| format!("{submodule}{end}");
            let entry = SubmoduleEntry {
                graph: files::write(&root, &name(".onnx"), &model(&name(" graph"), &[""])).unwrap(),
                weights: write_weights(&root, submodule, seed),
                inputs: vec![input],
                outputs: vec![output],
                config: submodule.component().config_file(),
                work: WorkEntry::default(),
                fp8: Default::default(),
            };
            (submodule.stem().to_string(), entry)
        };
        let embeds = || port("embeds", &["1", "text_tokens", "28"]);
        let tokens = || port("tokens", &["1", "tokens", "64"]);
        let latents = || port("latents", &["1", "16", "1", "latent_height", "latent_width"]);
        let frames = port("frames", &["1", "3", "1", "8*latent_height", "8*latent_width"]);
        let mut manifest = ExportManifest {
            schema: EXPORT_SCHEMA,
            bernini: "0".into(),
            source: seed.into(),
            variant: Variant::Renderer,
            precision: PrecisionName::Bf16,
            policy: None,
            balance: None,
            uncalibrated: false,
            submodules: BTreeMap::from([
                of(Submodule::TextEncoder, embeds(), embeds()),
                of(Submodule::Transformer, tokens(), tokens()),
                of(Submodule::VaeEncoderFirst, frames.clone(), latents()),
                of(Submodule::VaeDecoderFirst, latents(), frames),
            ]),
            tables: BTreeMap::from([(
                "text_embeddings".into(),
                files::write(&root, "tables/text.safetensors", b"rows").unwrap(),
            )]),
            config: vec![files::write(&root, "config/vae.json", seed.as_bytes()).unwrap()],
        };
        edit(&mut manifest);
        let json = serde_json::to_vec(&manifest).unwrap();
        files::write(&root, EXPORT_MANIFEST, &json).unwrap();
    }

    /// Gives a graph of the export an operator that only a plugin runs.
    pub(crate) fn use_plugin(&self, submodule: Submodule) {
        let graph = model(&format!("{submodule} graph"), &["", "bernini"]);
        self.edit(|manifest| {
            let entry = files::write(&self.export(), &format!("{submodule}.onnx"), &graph).unwrap();
            manifest.submodules.get_mut(submodule.stem()).unwrap().graph = entry;
        });
    }

    /// Changes the manifest of the export.
    pub(crate) fn edit(&self, edit: impl Fn(&mut ExportManifest)) {
        self.edit_export(edit, "seed");
    }

    pub(crate) fn manifest(&self) -> EnginesManifest {
        files::json(&self.engines().join(ENGINES_MANIFEST)).unwrap()
    }

    /// Checks that what the engine folder promises is there, byte by byte; gives the engines' stems.
    pub(crate) fn usable(&self) -> Vec<String> {
        let manifest = self.manifest();
        let plans = manifest.engines.values().map(|entry| &entry.plan);
        for entry in plans.chain(manifest.tables.values()).chain(&manifest.config) {
            files::check(&self.engines(), entry).unwrap();
        }
        manifest.engines.into_keys().collect()
    }

    /// Names of the plans in the folder.
    pub(crate) fn plans(&self) -> Vec<String> {
        let entries = fs::read_dir(self.engines()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".plan")).collect();
        names.sort();
        names
    }
}

/// Weights of an export are its only large files; here they are a few bytes.
fn write_weights(root: &Path, submodule: Submodule, seed: &str) -> FileEntry {
    let name = format!("{}.data", submodule.weights_stem());
    files::write(root, &name, format!("{submodule} weights {seed}").as_bytes()).unwrap()
}

/// Nobody watches.
pub(crate) fn unwatched() -> Watch {
    Watch { progress: Arc::new(()), interrupted: Arc::new(AtomicBool::new(false)) }
}

/// Makes plans that name what they are of.
pub(crate) struct Fake {
    pub(crate) tensorrt: String,
    pub(crate) gpu: String,
    /// What it was asked for.
    pub(crate) built: Vec<Submodule>,
    /// Those of them that it was given a plugin for.
    pub(crate) with_plugin: Vec<Submodule>,
    /// Timing caches that it was given.
    pub(crate) caches: Vec<String>,
    /// Fails at this engine.
    pub(crate) fails_at: Option<Submodule>,
    /// Interrupts the watch when it is at this engine.
    pub(crate) interrupts_at: Option<Submodule>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            tensorrt: "10.6.0".into(),
            gpu: "NVIDIA H200".into(),
            built: vec![],
            with_plugin: vec![],
            caches: vec![],
            fails_at: None,
            interrupts_at: None,
        }
    }
}

impl Compiler for Fake {
    fn platform(&self) -> Platform {
        Platform {
            tensorrt: self.tensorrt.clone(),
            gpu: self.gpu.clone(),
            compute_capability: "9.0".into(),
        }
    }

    fn gpu(&self) -> GpuEntry {
        GpuEntry {
            name: self.gpu.clone(),
            compute_capability: "9.0".into(),
            cuda_driver: "13.0".into(),
        }
    }

    fn compile(&mut self, job: &Job<'_>, watch: &Watch) -> Result<Compiled, CompileError> {
        self.caches.push(String::from_utf8_lossy(job.timing_cache).into_owned());
        if self.fails_at == Some(job.submodule) {
            return Err(CompileError::OutOfMemory {
                free: 3,
                total: 7,
                source: bernini_tensorrt::Error::NotCompiled,
            });
        }
        if self.interrupts_at == Some(job.submodule) {
            watch.interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
            return Err(CompileError::Cancelled);
        }
        self.built.push(job.submodule);
        self.with_plugin.extend(job.plugin.map(|_| job.submodule));
        let graph = fs::read_to_string(job.graph).unwrap();
        let weights = format!("{}.data", job.submodule.weights_stem());
        let weights = fs::read_to_string(job.graph.with_file_name(weights)).unwrap();
        let platform = self.platform();
        let plan = format!("{graph} {weights} {:?} {:?} {platform:?}", job.profiles, job.flags);
        Ok(Compiled {
            plan: Box::new(plan),
            activation_bytes: 5,
            layers: r#"{"Layers": ["softmax", "x"]}"#.into(),
            timing_cache: [job.timing_cache, format!("{},", job.submodule).as_bytes()].concat(),
            seconds: 1.5,
            timing_cache_refused: job.timing_cache == b"refused",
        })
    }
}
