//! From an export and workloads to a folder of engines.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use bernini_graphs::Submodule;
use bernini_graphs::engines::{EngineEntry, EnginesManifest};
use bernini_tensorrt::PluginLibrary;

use crate::compiler::{CompileError, Compiled, Compiler, Job, Watch};
use crate::decision::{Action, why_build};
use crate::error::BuildError;
use crate::export::Export;
use crate::files;
use crate::host_memory;
use crate::key::{Flags, Platform};
use crate::layers::LayerSummary;
use crate::next_manifest::NextManifest;
use crate::report::{BuildReport, DryRun, EngineReport, PlannedEngine};
use crate::store::{self, Found, Store, plan_name};
use crate::wanted::{Wanted, wanted};
use crate::workload::Workload;

/// Largest timing cache that is read: real ones have a few megabytes.
const MAX_TIMING_CACHE: u64 = 1 << 30;

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Options {
    /// The export.
    pub export: PathBuf,
    /// The engine folder.
    pub engines: PathBuf,
    /// What it is for.
    pub workloads: Vec<Workload>,
    /// Only these engines; all that the workloads run where it is empty.
    pub only: Vec<Submodule>,
    /// How TensorRT is asked to build.
    pub flags: Flags,
    /// The library of our own operators, needed where a graph has some.
    pub plugin: Option<PluginLibrary>,
    /// Timing cache to start from; the folder's own where it is not given.
    pub timing_cache: Option<PathBuf>,
}

/// Says what [`build`] would do, by sizes and manifests; nothing is hashed, locked or written.
/// Without a `platform` there are no keys.
pub fn dry_run(options: &Options, platform: Option<&Platform>) -> Result<DryRun, BuildError> {
    let export = Export::open(&options.export)?;
    let old = Store::peek(&options.engines)?;
    let engines = wanted(&export, options)?.into_iter().map(|wanted| {
        let key = platform.map(|platform| wanted.key(options.flags, platform));
        let (action, why) = match (platform, &key) {
            (Some(platform), Some(key)) => {
                let plan = plan_name(wanted.submodule, export.manifest().precision, key);
                let check = files::check_size;
                let found = store::find(&options.engines, old.as_ref(), &plan, key, check);
                reason(&found, &wanted, &export, old.as_ref(), platform)
            }
            _ => (Action::Unknown, "TensorRT: not found".into()),
        };
        PlannedEngine {
            submodule: wanted.submodule,
            action,
            why,
            key,
            weight_bytes: wanted.graph.weights.bytes,
            profiles: wanted.profiles,
            inputs: wanted.ranges,
        }
    });
    Ok(DryRun { platform: platform.cloned(), engines: engines.collect() })
}

fn reason(
    found: &Found,
    wanted: &Wanted<'_>,
    export: &Export,
    old: Option<&EnginesManifest>,
    platform: &Platform,
) -> (Action, String) {
    match why_build(found, wanted, export.manifest(), old, platform) {
        Some(why) => (Action::Build, why),
        None => (Action::Reuse, "nothing that decides it has changed".into()),
    }
}

/// Builds what is not there yet.
///
/// # Errors
/// See [`BuildError`]. Whatever happens, the folder holds what it held before or what was asked
/// for; engines that were finished are taken up by the next build.
pub fn build(
    options: &Options,
    compiler: &mut dyn Compiler,
    watch: &Watch,
) -> Result<BuildReport, BuildError> {
    let start = Instant::now();
    // What cannot work is said before anything is hashed or written.
    check_host_memory(&dry_run(options, Some(&compiler.platform()))?)?;
    let export = Export::open(&options.export)?;
    let wanted = wanted(&export, options)?;
    let given = options.timing_cache.as_ref();
    let given = given.map(|path| files::read(path, MAX_TIMING_CACHE)).transpose()?;
    verify(&export, &wanted, watch)?;
    let mut build = Build::open(options, &export, given, compiler, watch)?;
    let decisions = build.decide(wanted, &compiler.platform());
    build.place_new_files()?;
    let count = decisions.len();
    for (index, decision) in decisions.into_iter().enumerate() {
        watch.progress.engine(decision.wanted.submodule, index, count);
        build.engine(decision, compiler)?;
    }
    let removed = build.finish()?;
    Ok(build.report(compiler.platform(), removed, start.elapsed().as_secs_f64()))
}

/// Refuses to begin where the parser could not hold the largest weights.
fn check_host_memory(plan: &DryRun) -> Result<(), BuildError> {
    let built = plan.engines.iter().filter(|engine| engine.action == Action::Build);
    let largest = built.max_by_key(|engine| engine.weight_bytes);
    let (Some(largest), Some(available)) = (largest, host_memory::available()) else {
        return Ok(());
    };
    let needed = host_memory::needed(largest.weight_bytes);
    match needed > available {
        true => Err(BuildError::HostMemory { submodule: largest.submodule, needed, available }),
        false => Ok(()),
    }
}

/// Hashes every graph and weight file that will be read: keys rest on what the manifest says.
fn verify(export: &Export, wanted: &[Wanted<'_>], watch: &Watch) -> Result<(), BuildError> {
    let entries = wanted.iter().flat_map(|wanted| [&wanted.graph.graph, &wanted.graph.weights]);
    let entries: BTreeSet<_> = entries.collect();
    let count = entries.len() as u32;
    for (step, entry) in (0..).zip(entries) {
        watch.progress.step("checking the export", step, count);
        if watch.is_interrupted() {
            return Err(BuildError::Interrupted);
        }
        files::check(export.folder(), entry)?;
    }
    watch.progress.step("checking the export", count, count);
    Ok(())
}

/// One engine and what happens to it.
struct Decision<'a> {
    wanted: Wanted<'a>,
    key: String,
    plan: String,
    found: Found,
    action: Action,
    why: String,
}

struct Build<'a> {
    options: &'a Options,
    export: &'a Export,
    store: Store,
    watch: &'a Watch,
    next: NextManifest,
    timing_cache: Vec<u8>,
    engines: Vec<EngineReport>,
    warnings: Vec<String>,
}

impl<'a> Build<'a> {
    fn open(
        options: &'a Options,
        export: &'a Export,
        timing_cache: Option<Vec<u8>>,
        compiler: &dyn Compiler,
        watch: &'a Watch,
    ) -> Result<Self, BuildError> {
        let store = Store::open(&options.engines)?;
        let timing_cache = timing_cache.unwrap_or_else(|| store.timing_cache());
        let next = NextManifest::new(export.manifest(), options, compiler);
        let (engines, warnings) = (vec![], vec![]);
        Ok(Self { options, export, store, watch, next, timing_cache, engines, warnings })
    }

    fn decide(&mut self, wanted: Vec<Wanted<'a>>, platform: &Platform) -> Vec<Decision<'a>> {
        let decisions = wanted.into_iter().map(|wanted| {
            let key = wanted.key(self.options.flags, platform);
            let plan = plan_name(wanted.submodule, self.export.manifest().precision, &key);
            let found = self.store.find(&plan, &key);
            let old = self.store.manifest();
            let (action, why) = reason(&found, &wanted, self.export, old, platform);
            if let Found::Yes(entry) = &found {
                self.next.list(wanted.submodule, &wanted.profiles, entry);
            }
            Decision { wanted, key, plan, found, action, why }
        });
        let decisions: Vec<_> = decisions.collect();
        if let Some(old) = self.store.manifest() {
            let keys = decisions.iter().map(|d| (d.wanted.submodule.stem(), d.key.as_str()));
            self.next.take_over(old, &keys.collect());
        }
        decisions
    }

    /// Tables and configs that replace nothing can come first; the others wait for the engines.
    fn place_new_files(&self) -> Result<(), BuildError> {
        let new = self.export.carried().filter(|entry| !self.store.has(entry));
        for entry in new {
            self.store.place(self.export.folder(), entry)?;
        }
        Ok(())
    }

    /// Takes or builds one engine.
    fn engine(
        &mut self,
        decision: Decision<'_>,
        compiler: &mut dyn Compiler,
    ) -> Result<(), BuildError> {
        if self.watch.is_interrupted() {
            return Err(BuildError::Interrupted);
        }
        let Decision { wanted, key, plan, found, action, why } = decision;
        let (entry, layers) = match found {
            Found::Yes(entry) => (*entry, None),
            _ => {
                let compiled = self.compile(&wanted, compiler)?;
                let entry = self.store_engine(&wanted, key, &plan, &compiled)?;
                (entry, Some(LayerSummary::parse(&compiled.layers)))
            }
        };
        self.engines.push(EngineReport {
            submodule: wanted.submodule,
            action,
            why,
            build_seconds: entry.build_seconds,
            weight_bytes: wanted.graph.weights.bytes,
            plan_bytes: entry.plan.bytes,
            activation_bytes: entry.activation_bytes,
            profiles: wanted.profiles.iter().map(|profile| profile.name.clone()).collect(),
            layers,
        });
        Ok(())
    }

    fn compile(
        &self,
        wanted: &Wanted<'_>,
        compiler: &mut dyn Compiler,
    ) -> Result<Compiled, BuildError> {
        let graph = self.export.folder().join(&wanted.graph.graph.file);
        let plugin = self.options.plugin.as_ref().filter(|_| wanted.plugin.is_some());
        let job = Job {
            submodule: wanted.submodule,
            graph: &graph,
            inputs: &wanted.graph.inputs,
            profiles: &wanted.ranges,
            flags: self.options.flags,
            plugin: plugin.map(|library| library.path.as_path()),
            timing_cache: &self.timing_cache,
        };
        compiler.compile(&job, self.watch).map_err(|source| match source {
            CompileError::Cancelled => BuildError::Interrupted,
            source => BuildError::Compile { submodule: wanted.submodule, source },
        })
    }

    fn store_engine(
        &mut self,
        wanted: &Wanted<'_>,
        key: String,
        plan: &str,
        compiled: &Compiled,
    ) -> Result<EngineEntry, BuildError> {
        let entry = EngineEntry {
            plan: self.store.write_plan(plan, (*compiled.plan).as_ref())?,
            key,
            inputs: wanted.graph.inputs.clone(),
            outputs: wanted.graph.outputs.clone(),
            config: wanted.graph.config.clone(),
            profiles: wanted.profiles.clone(),
            activation_bytes: compiled.activation_bytes,
            work: wanted.graph.work.clone(),
            build_seconds: compiled.seconds,
            plugin: wanted.plugin.clone(),
        };
        self.store.record(&entry)?;
        self.next.list(wanted.submodule, &wanted.profiles, &entry);
        if self.next.extends_old {
            self.store.write_manifest(&self.next.manifest)?;
        }
        self.store.write_layers(wanted.submodule, &compiled.layers)?;
        self.timing_cache.clone_from(&compiled.timing_cache);
        self.store.write_timing_cache(&self.timing_cache)?;
        if compiled.timing_cache_refused {
            self.warnings
                .push("the timing cache is of another GPU or TensorRT; a new one was begun".into());
        }
        Ok(entry)
    }

    /// Puts the new manifest in place, and only then removes what it does not list.
    fn finish(&self) -> Result<Vec<String>, BuildError> {
        for entry in self.export.carried() {
            self.store.place(self.export.folder(), entry)?;
        }
        self.store.write_manifest(&self.next.manifest)?;
        Ok(self.store.sweep(&self.next.manifest)?)
    }

    fn report(self, platform: Platform, removed: Vec<String>, seconds: f64) -> BuildReport {
        let manifest = self.next.manifest;
        BuildReport {
            out: self.options.engines.clone(),
            platform,
            precision: manifest.precision,
            policy: manifest.policy,
            uncalibrated: manifest.uncalibrated,
            workloads: manifest.workloads,
            engines: self.engines,
            kept: self.next.kept,
            removed,
            warnings: self.warnings,
            seconds,
        }
    }
}

#[cfg(test)]
mod tests;
