//! Whether an export folder holds what its manifest says, and what the graphs' contract demands.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component as PathPart, Path};

use bernini_graphs::manifest::{
    EXPORT_MANIFEST, EXPORT_SCHEMA, ExportManifest, FileEntry, Fp8Entry, PortEntry, PrecisionName,
    SubmoduleEntry, Variant,
};
use bernini_graphs::models::{Configs, PlannerConfigs, build};
use bernini_graphs::taps::{Taps, is_tap};
use bernini_graphs::{BuildError, Precision, Submodule};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::InspectError;
use crate::checkpoint::files;
use crate::tables;

/// What an export folder holds.
#[derive(Clone, Debug, Serialize)]
pub struct ExportFolderReport {
    /// Whether files and contracts are as they should be.
    pub ok: bool,
    /// Which weights these are.
    pub source: String,
    /// Which tasks it can do.
    pub variant: Variant,
    /// Precision of the graphs.
    pub precision: PrecisionName,
    /// Name of its FP8 policy.
    pub policy: Option<String>,
    /// Whether its FP8 scales were never measured.
    pub uncalibrated: bool,
    /// Whether attentions were re-balanced in its weights.
    pub balanced: bool,
    /// Submodule stem → bytes of its weights file.
    pub submodules: BTreeMap<String, u64>,
    /// Submodule stem → how many of its layers run in FP8; those with none are left out.
    pub fp8: BTreeMap<String, Fp8Entry>,
    /// Number of files listed.
    pub files: usize,
    /// Bytes of all files listed.
    pub bytes: u64,
    /// Whether the hashes were compared.
    pub verified: bool,
    /// What is wrong: file or submodule, expected, found.
    pub findings: Vec<String>,
}

/// The manifest of the export in `root`.
pub(crate) fn read_manifest(root: &Path) -> Result<ExportManifest, InspectError> {
    let file = root.join(EXPORT_MANIFEST);
    let manifest: ExportManifest = files::json(&file)?;
    if manifest.schema != EXPORT_SCHEMA {
        let (expected, found) = (EXPORT_SCHEMA, manifest.schema);
        return Err(InspectError::Schema { file, expected, found });
    }
    Ok(manifest)
}

pub(super) fn report(root: &Path, verify: bool) -> Result<ExportFolderReport, InspectError> {
    let manifest = read_manifest(root)?;
    let listed = listed_files(&manifest);
    let mut findings: Vec<_> =
        listed.values().filter_map(|entry| file_problem(root, entry, verify)).collect();
    if findings.is_empty() {
        findings.extend(contract_problems(root, &manifest));
    }
    let weights = |(stem, entry): (&String, &SubmoduleEntry)| (stem.clone(), entry.weights.bytes);
    let fp8 = |(stem, entry): (&String, &SubmoduleEntry)| {
        (entry.fp8 != Fp8Entry::default()).then(|| (stem.clone(), entry.fp8))
    };
    Ok(ExportFolderReport {
        ok: findings.is_empty(),
        source: manifest.source.clone(),
        variant: manifest.variant,
        precision: manifest.precision,
        policy: manifest.policy.clone(),
        uncalibrated: manifest.uncalibrated,
        balanced: manifest.balance.is_some(),
        submodules: manifest.submodules.iter().map(weights).collect(),
        fp8: manifest.submodules.iter().filter_map(fp8).collect(),
        files: listed.len(),
        bytes: listed.values().map(|entry| entry.bytes).fold(0, u64::saturating_add),
        verified: verify,
        findings,
    })
}

/// Every file that the manifest names, once.
fn listed_files(manifest: &ExportManifest) -> BTreeMap<&str, &FileEntry> {
    let submodules = manifest.submodules.values().flat_map(|s| [&s.graph, &s.weights]);
    let others = manifest.tables.values().chain(&manifest.config);
    submodules.chain(others).map(|entry| (entry.file.as_str(), entry)).collect()
}

/// Whether `path` stays below the folder that it is joined to.
fn stays_below(path: &str) -> bool {
    let plain = |part| matches!(part, PathPart::Normal(_));
    !path.is_empty() && Path::new(path).components().all(plain)
}

fn file_problem(root: &Path, entry: &FileEntry, verify: bool) -> Option<String> {
    let name = &entry.file;
    if !stays_below(name) {
        return Some(format!("{name:?}: expected a path below the folder"));
    }
    let (file, bytes) = match files::open(&root.join(name)) {
        Ok(opened) => opened,
        Err(error) => return Some(error.to_string()),
    };
    if bytes != entry.bytes {
        return Some(format!("{name}: expected {} bytes, found {bytes}", entry.bytes));
    }
    verify.then(|| hash_problem(file, entry)).flatten()
}

fn hash_problem(file: File, entry: &FileEntry) -> Option<String> {
    let name = &entry.file;
    let mut hash = blake3::Hasher::new();
    if let Err(error) = hash.update_reader(file) {
        return Some(format!("{name}: {error}"));
    }
    let found = hash.finalize().to_hex();
    let differs = *found != *entry.blake3;
    differs.then(|| format!("{name}: expected blake3 {}, found {found}", entry.blake3))
}

/// Compares the ports of every submodule with those of the graph that its config gives.
fn contract_problems(root: &Path, manifest: &ExportManifest) -> Vec<String> {
    let configs = match configs(root, manifest.variant) {
        Ok(configs) => configs,
        Err(error) => return vec![error],
    };
    let mut problems = vec![];
    for table in tables::all(&configs, 0) {
        let found = manifest.tables.get(table.name).map_or("none", |entry| &entry.file);
        if found != table.file() {
            problems.push(format!("tables: expected {}, found {found}", table.file()));
        }
    }
    for submodule in configs.submodules() {
        let stem = submodule.stem();
        let Some(entry) = manifest.submodules.get(stem) else {
            problems.push(format!("{stem}: expected a graph, found none"));
            continue;
        };
        let (inputs, outputs) = ports(submodule, &configs, manifest.precision);
        let contract = |port: &&PortEntry| !is_tap(&port.name);
        let found: Vec<_> = entry.outputs.iter().filter(contract).cloned().collect();
        for (side, expected, found) in
            [("inputs", &inputs, &entry.inputs), ("outputs", &outputs, &found)]
        {
            if expected != found {
                problems.push(format!("{stem}: {side} are not those of this version's graph"));
            }
        }
    }
    problems
}

fn configs(root: &Path, variant: Variant) -> Result<Configs, String> {
    fn read<T: DeserializeOwned>(root: &Path, name: &str) -> Result<T, String> {
        files::json(&root.join("config").join(name)).map_err(|error| error.to_string())
    }
    let planner = || {
        Ok::<_, String>(PlannerConfigs {
            vision: read(root, "vision.json")?,
            lm: read(root, "planner_lm.json")?,
            connector: read(root, "connector.json")?,
            flow_head: read(root, "flow_head.json")?,
        })
    };
    let configs = Configs {
        planner: (variant == Variant::Full).then(planner).transpose()?,
        text_encoder: read(root, "text_encoder.json")?,
        transformer: read(root, "transformer.json")?,
        transformer_2: read(root, "transformer_2.json")?,
        vae: read(root, "vae.json")?,
    };
    let planner = configs.planner.iter().flat_map(|planner| {
        [
            ("vision", planner.vision.validate()),
            ("planner_lm", planner.lm.validate()),
            ("connector", planner.connector.validate()),
            ("flow_head", planner.flow_head.validate()),
        ]
    });
    let renderer = [
        ("text_encoder", configs.text_encoder.validate()),
        ("transformer", configs.transformer.validate()),
        ("transformer_2", configs.transformer_2.validate()),
        ("vae", configs.vae.validate()),
    ];
    for (name, valid) in planner.chain(renderer) {
        valid.map_err(|error| format!("config/{name}.json: {error}"))?;
    }
    Ok(configs)
}

/// Inputs and outputs of a submodule. FP8 does not show at the ports: they are those of bf16.
fn ports(
    submodule: Submodule,
    configs: &Configs,
    precision: PrecisionName,
) -> (Vec<PortEntry>, Vec<PortEntry>) {
    let precision = match precision {
        PrecisionName::F32 | PrecisionName::Fp8F32 => Precision::F32,
        PrecisionName::Bf16 | PrecisionName::Fp8 => Precision::Bf16,
    };
    let shapes = needed_shapes(submodule, configs);
    match build(submodule, configs, &shapes, precision, Taps::None) {
        Ok(graph) => (
            graph.inputs.iter().map(PortEntry::from).collect(),
            graph.outputs.iter().map(PortEntry::from).collect(),
        ),
        Err(_) => (vec![], vec![]),
    }
}

/// Names and shapes of the tensors that a submodule's graph asks for.
pub(crate) fn needed_shapes(
    submodule: Submodule,
    configs: &Configs,
) -> BTreeMap<String, Vec<usize>> {
    let nothing = BTreeMap::new();
    let Err(asked) = build(submodule, configs, &nothing, Precision::F32, Taps::None) else {
        return nothing;
    };
    let tensors = asked.errors.into_iter().filter_map(|error| match error {
        BuildError::MissingTensor { name, expected } => Some((name, expected)),
        _ => None,
    });
    tensors.collect()
}
