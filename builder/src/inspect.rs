//! What an engine folder holds, and whether it is what its manifest says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bernini_graphs::Submodule;
use bernini_graphs::engines::{
    ENGINES_MANIFEST, EngineEntry, EnginesManifest, GpuEntry, PluginEntry, ProfileEntry,
};
use bernini_graphs::manifest::{FileEntry, PrecisionName, Variant};
use serde::Serialize;

use crate::files;
use crate::store::{LOCK, Store, StoreError, is_plan, plan_name};

/// What an engine folder holds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename = "engines")]
pub struct EnginesReport {
    /// Whether every file is as it should be.
    pub ok: bool,
    /// Fingerprint of the checkpoint.
    pub source: String,
    /// Which tasks it can do.
    pub variant: Variant,
    /// Precision of the graphs.
    pub precision: PrecisionName,
    /// FP8 only: name of the policy.
    pub policy: Option<String>,
    /// FP8 only: whether the scales were never measured.
    pub uncalibrated: bool,
    /// Version of the TensorRT that built the engines.
    pub tensorrt: String,
    /// The GPU that they were built on.
    pub gpu: GpuEntry,
    /// What they were built for.
    pub workloads: Vec<String>,
    /// The engines by the stem of their submodule.
    pub engines: BTreeMap<String, EngineSummary>,
    /// Number of files listed.
    pub files: usize,
    /// Bytes of all files listed.
    pub bytes: u64,
    /// Whether the hashes were compared.
    pub verified: bool,
    /// What does no harm.
    pub warnings: Vec<String>,
    /// What is wrong: file or engine, expected, found.
    pub findings: Vec<String>,
}

/// One engine.
#[derive(Clone, Debug, Serialize)]
pub struct EngineSummary {
    /// The narrowest numbers that it multiplies.
    pub precision: PrecisionName,
    /// Hash of everything that decides the plan.
    pub key: String,
    /// Bytes of the plan.
    pub plan_bytes: u64,
    /// Device memory for activations, the largest of all profiles, in bytes.
    pub activation_bytes: u64,
    /// Seconds that the build took.
    pub build_seconds: f64,
    /// The sizes that it serves.
    pub profiles: Vec<ProfileEntry>,
    /// The plugin library that it needs, if it needs one.
    pub plugin: Option<PluginEntry>,
}

/// Whether `root` is an engine folder, if only a begun one.
pub fn is_engine_folder(root: &Path) -> bool {
    [ENGINES_MANIFEST, LOCK].iter().any(|name| root.join(name).exists())
}

/// Looks at an engine folder; `verify` reads every byte and compares the hashes.
///
/// # Errors
/// A folder without a manifest that this version reads. What the manifest says wrongly is a
/// finding.
pub fn inspect(root: &Path, verify: bool) -> Result<EnginesReport, StoreError> {
    let unfinished = || StoreError::Unfinished { root: root.into() };
    let manifest = Store::peek(root)?.ok_or_else(unfinished)?;
    let listed = listed_files(&manifest);
    let check = if verify { files::check } else { files::check_size };
    let wrong_files = listed.values().filter_map(|entry| check(root, entry).err());
    let mut findings: Vec<_> = wrong_files.map(|error| error.to_string()).collect();
    for (stem, engine) in &manifest.engines {
        findings.extend(wrong_entry(stem, engine, &manifest).map(|why| format!("{stem}: {why}")));
    }
    let (files, bytes) = (listed.len(), listed.values().map(|entry| entry.bytes));
    let bytes = bytes.fold(0, u64::saturating_add);
    let summary = |(stem, entry): (&String, &EngineEntry)| {
        (stem.clone(), EngineSummary::new(entry, manifest.precision))
    };
    Ok(EnginesReport {
        ok: findings.is_empty(),
        engines: manifest.engines.iter().map(summary).collect(),
        files,
        bytes,
        verified: verify,
        warnings: unlisted_plans(root, &manifest)?,
        findings,
        source: manifest.source,
        variant: manifest.variant,
        precision: manifest.precision,
        policy: manifest.policy,
        uncalibrated: manifest.uncalibrated,
        tensorrt: manifest.tensorrt,
        gpu: manifest.gpu,
        workloads: manifest.workloads,
    })
}

impl EngineSummary {
    fn new(entry: &EngineEntry, precision: PrecisionName) -> Self {
        let without_fp8 = ["", "0"].contains(&entry.work.fp8.as_str());
        Self {
            precision: match precision {
                PrecisionName::Fp8 if without_fp8 => PrecisionName::Bf16,
                precision => precision,
            },
            key: entry.key.clone(),
            plan_bytes: entry.plan.bytes,
            activation_bytes: entry.activation_bytes,
            build_seconds: entry.build_seconds,
            profiles: entry.profiles.clone(),
            plugin: entry.plugin.clone(),
        }
    }
}

/// Every file that the manifest names, once.
fn listed_files(manifest: &EnginesManifest) -> BTreeMap<&str, &FileEntry> {
    let plans = manifest.engines.values().map(|engine| &engine.plan);
    let all = plans.chain(manifest.tables.values()).chain(&manifest.config);
    all.map(|entry| (entry.file.as_str(), entry)).collect()
}

/// What the manifest says of an engine and cannot be.
fn wrong_entry(stem: &str, engine: &EngineEntry, manifest: &EnginesManifest) -> Option<String> {
    let Some(submodule) = Submodule::from_stem(stem) else {
        return Some("expected the name of a submodule".into());
    };
    let expected = plan_name(submodule, manifest.precision, &engine.key);
    let found = &engine.plan.file;
    if *found != expected {
        return Some(format!("the plan of its key is {expected}, found {found}"));
    }
    if manifest.config.iter().all(|entry| entry.file != engine.config) {
        return Some(format!("its config {} is not listed", engine.config));
    }
    let profile = |profile: &ProfileEntry| {
        let mut sizes = profile.sizes.iter();
        let (symbol, size) = sizes.find(|(_, s)| s.min > s.opt || s.opt > s.max)?;
        let (min, opt, max) = (size.min, size.opt, size.max);
        let found = format!("{symbol} from {min} to {max}, best at {opt}");
        Some(format!("profile {:?}: expected a range, found {found}", profile.name))
    };
    match engine.profiles.as_slice() {
        [] => Some("expected a profile, found none".into()),
        profiles => profiles.iter().find_map(profile),
    }
}

/// Plans that a build left which did not end.
fn unlisted_plans(root: &Path, manifest: &EnginesManifest) -> Result<Vec<String>, StoreError> {
    let listed = |name: &str| manifest.engines.values().any(|engine| engine.plan.file == name);
    let entries = fs::read_dir(root).map_err(files::at(root))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut plans: Vec<_> = names.filter(|name| is_plan(name) && !listed(name)).collect();
    plans.sort();
    let warn = |plan| format!("{plan} is not listed; the next build takes it up or removes it");
    Ok(plans.into_iter().map(warn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::build;
    use crate::testing::{Fake, Folders, unwatched};

    fn built() -> Folders {
        let folders = Folders::new();
        build(&folders.options(&["v2v-480p"]), &mut Fake::new(), &unwatched()).unwrap();
        // The one config that the export has.
        edit(&folders, |manifest| {
            manifest.engines.values_mut().for_each(|e| e.config = "config/vae.json".into());
        });
        folders
    }

    fn look(folders: &Folders, verify: bool) -> EnginesReport {
        let report = inspect(&folders.engines(), verify).unwrap();
        assert_eq!(report.ok, report.findings.is_empty());
        report
    }

    fn edit(folders: &Folders, edit: impl FnOnce(&mut EnginesManifest)) {
        let mut manifest = folders.manifest();
        edit(&mut manifest);
        let json = serde_json::to_vec(&manifest).unwrap();
        files::write(&folders.engines(), ENGINES_MANIFEST, &json).unwrap();
    }

    #[test]
    fn a_whole_folder_is_described_engine_by_engine() {
        let folders = built();
        edit(&folders, |manifest| {
            manifest.precision = PrecisionName::Fp8;
            let engines = std::mem::take(&mut manifest.engines);
            manifest.engines =
                engines.into_iter().filter(|(stem, _)| stem == "transformer").collect();
        });
        let plan = folders.manifest().engines["transformer"].plan.clone();
        let fp8 = plan.file.replace("bf16", "fp8");
        fs::rename(folders.engines().join(&plan.file), folders.engines().join(&fp8)).unwrap();
        edit(&folders, |manifest| {
            let engine = manifest.engines.get_mut("transformer").unwrap();
            engine.plan.file = fp8;
        });
        let report = look(&folders, true);
        assert_eq!(report.findings, [""; 0]);
        let engine = &report.engines["transformer"];
        assert_eq!((engine.plan_bytes, engine.build_seconds), (plan.bytes, 1.5));
        assert_eq!((engine.precision, engine.profiles.len()), (PrecisionName::Bf16, 2));
        edit(&folders, |m| m.engines.get_mut("transformer").unwrap().work.fp8 = "2*tokens".into());
        let report = look(&folders, false);
        assert_eq!(report.engines["transformer"].precision, PrecisionName::Fp8);
        // The plans of the engines that are no longer listed.
        assert_eq!(report.warnings.len(), 3, "{:?}", report.warnings);
    }

    #[test]
    fn a_plan_that_is_short_missing_or_flipped_is_a_finding() {
        let folders = built();
        let plan = folders.manifest().engines["transformer"].plan.file.clone();
        let path = folders.engines().join(&plan);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[3] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(look(&folders, false).ok);
        let found = look(&folders, true).findings;
        assert!(found.len() == 1 && found[0].contains("blake3") && found[0].contains(&plan));
        fs::write(&path, &whole[1..]).unwrap();
        assert!(look(&folders, false).findings[0].contains("bytes, expected"));
        fs::remove_file(&path).unwrap();
        assert!(look(&folders, false).findings[0].contains("no such file"));
    }

    #[test]
    fn what_the_manifest_cannot_say_is_a_finding() {
        type Edit = fn(&mut EngineEntry);
        let edits: [(Edit, &str); 5] = [
            (|e| e.key = "0123456789abcdef01".into(), "the plan of its key is transformer.bf16.01"),
            (|e| e.plan.file = "../x".into(), "not below the folder"),
            (|e| e.config = "config/none.json".into(), "config/none.json is not listed"),
            (|e| e.profiles.clear(), "expected a profile"),
            (
                |e| e.profiles[0].sizes.values_mut().for_each(|size| size.min = size.max + 1),
                "expected a range",
            ),
        ];
        for (change, words) in edits {
            let folders = built();
            edit(&folders, |m| change(m.engines.get_mut("transformer").unwrap()));
            let found = look(&folders, false).findings.join("\n");
            assert!(found.contains(words), "no {words:?} in {found}");
        }
        let folders = built();
        edit(&folders, |manifest| {
            let engine = manifest.engines["transformer"].clone();
            manifest.engines.insert("dit".into(), engine);
        });
        assert_eq!(look(&folders, false).findings, ["dit: expected the name of a submodule"]);
    }

    #[test]
    fn a_folder_without_a_manifest_says_what_to_do() {
        let folders = built();
        let root = folders.engines();
        assert!(is_engine_folder(&root) && !is_engine_folder(&folders.export()));
        fs::remove_file(root.join(ENGINES_MANIFEST)).unwrap();
        assert!(is_engine_folder(&root));
        let error = inspect(&root, false).unwrap_err().to_string();
        assert!(error.contains("run the same build again"), "{error}");
    }
}
