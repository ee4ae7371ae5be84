//! `engines.json` as it grows during a build.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::engines::{ENGINES_SCHEMA, EngineEntry, EnginesManifest, ProfileEntry};
use bernini_graphs::manifest::{ExportManifest, FileEntry};

use crate::build::Options;
use crate::compiler::Compiler;

/// The manifest of what is there so far.
pub(crate) struct NextManifest {
    pub(crate) manifest: EnginesManifest,
    /// Whether it can take the old one's place at once, because all that the old one lists stays.
    pub(crate) extends_old: bool,
    /// Engines of the old one that this build does not look at.
    pub(crate) kept: Vec<String>,
    /// Submodules that this build looks at: those of the export that the user did not leave out.
    looked_at: Vec<String>,
}

impl NextManifest {
    pub(crate) fn new(export: &ExportManifest, options: &Options, compiler: &dyn Compiler) -> Self {
        let manifest = EnginesManifest {
            schema: ENGINES_SCHEMA,
            bernini: env!("CARGO_PKG_VERSION").into(),
            source: export.source.clone(),
            variant: export.variant,
            precision: export.precision,
            policy: export.policy.clone(),
            uncalibrated: export.uncalibrated,
            balance: export.balance.clone(),
            tensorrt: compiler.platform().tensorrt,
            gpu: compiler.gpu(),
            workloads: options.workloads.iter().map(|workload| workload.name.clone()).collect(),
            engines: [].into(),
            tables: export.tables.clone(),
            config: export.config.clone(),
        };
        let looked_at = match options.only.is_empty() {
            true => export.submodules.keys().cloned().collect(),
            false => options.only.iter().map(|submodule| submodule.stem().into()).collect(),
        };
        Self { manifest, extends_old: true, kept: vec![], looked_at }
    }

    /// Lists an engine that is there, with the names that its profiles have now.
    pub(crate) fn list(
        &mut self,
        submodule: Submodule,
        profiles: &[ProfileEntry],
        entry: &EngineEntry,
    ) {
        let entry = EngineEntry { profiles: profiles.to_vec(), ..entry.clone() };
        self.manifest.engines.insert(submodule.stem().into(), entry);
    }

    /// Takes over what an earlier build of the same checkpoint left and this one does not look at.
    /// `keys` has those of the engines that it does look at, by stem.
    pub(crate) fn take_over(&mut self, old: &EnginesManifest, keys: &BTreeMap<&str, &str>) {
        self.extends_old = same_origin(old, &self.manifest);
        if !self.extends_old {
            return;
        }
        for (stem, entry) in &old.engines {
            if !self.looked_at.contains(stem) {
                self.kept.push(stem.clone());
                self.manifest.engines.insert(stem.clone(), entry.clone());
            } else if keys.get(stem.as_str()) != Some(&entry.key.as_str()) {
                self.extends_old = false;
            }
        }
        if !self.kept.is_empty() {
            self.keep_what_serves(old);
        }
    }

    /// Workloads, tables and configs of the engines that were taken over.
    fn keep_what_serves(&mut self, old: &EnginesManifest) {
        let new = &mut self.manifest;
        for workload in &old.workloads {
            if !new.workloads.contains(workload) {
                new.workloads.push(workload.clone());
            }
        }
        for (name, table) in &old.tables {
            new.tables.entry(name.clone()).or_insert_with(|| table.clone());
        }
        for entry in &old.config {
            if new.config.iter().all(|known| known.file != entry.file) {
                new.config.push(entry.clone());
            }
        }
    }
}

/// Whether engines of both can stand in one manifest.
fn same_origin(old: &EnginesManifest, new: &EnginesManifest) -> bool {
    let weights = |m: &EnginesManifest| (m.source.clone(), m.variant, m.precision);
    let scales = |m: &EnginesManifest| (m.policy.clone(), m.uncalibrated, m.balance.clone());
    let platform = |m: &EnginesManifest| {
        (m.tensorrt.clone(), m.gpu.name.clone(), m.gpu.compute_capability.clone())
    };
    let same_files =
        files(new).all(|entry| files(old).all(|other| other.file != entry.file || other == entry));
    same_files
        && weights(old) == weights(new)
        && scales(old) == scales(new)
        && platform(old) == platform(new)
}

/// Files beside the engines.
fn files(manifest: &EnginesManifest) -> impl Iterator<Item = &FileEntry> {
    manifest.tables.values().chain(&manifest.config)
}
