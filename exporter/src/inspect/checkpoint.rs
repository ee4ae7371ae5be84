//! Accounts for every tensor of a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bernini_graphs::manifest::Variant;
use bernini_graphs::models::build;
use bernini_graphs::{BuildError, Component, Precision, Taps};
use serde::Serialize;

use super::Finding;
use crate::checkpoint::{Checkpoint, ComponentTensors, StoredType, Tensor};
use crate::tables;

/// A tensor that is known and that no graph reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SkippedTensor {
    /// Name.
    pub tensor: String,
    /// Why.
    pub reason: &'static str,
}

/// Totals of one component.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ComponentReport {
    /// Name of the component.
    pub name: &'static str,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of elements.
    pub parameters: u64,
    /// Size in the checkpoint.
    pub bytes: u64,
    /// Tensors by type.
    pub dtypes: BTreeMap<&'static str, usize>,
    /// Submodule stem → tensors that its graph reads.
    pub submodules: BTreeMap<&'static str, usize>,
    /// Tensors that no graph reads, with reasons.
    pub skipped: Vec<SkippedTensor>,
}

/// How many tensors of one folder of weights are as they should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FolderReport {
    /// Name below the checkpoint.
    pub folder: String,
    /// Number of tensors.
    pub tensors: usize,
    /// Those that a graph or a table uses, or that are left out for a known reason.
    pub accounted: usize,
}

/// What a checkpoint holds.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointReport {
    /// Whether every tensor is accounted for.
    pub ok: bool,
    /// Full package or renderer only.
    pub layout: Variant,
    /// Which weights these are.
    pub fingerprint: String,
    /// Folders of weights.
    pub folders: Vec<FolderReport>,
    /// Components, in pipeline order.
    pub components: Vec<ComponentReport>,
    /// What breaks the contract.
    pub findings: Vec<Finding>,
    /// What is odd but not wrong.
    pub warnings: Vec<String>,
}

impl CheckpointReport {
    /// Builds every graph from names and shapes alone.
    pub fn new(checkpoint: &Checkpoint) -> Self {
        let mut findings = vec![];
        let held = checkpoint.components();
        let components = held.keys().map(|c| component(checkpoint, *c, &mut findings)).collect();
        findings.extend(checkpoint.strangers().iter().map(|(name, tensor)| Finding::Extra {
            component: "",
            tensor: name.clone(),
            found: tensor.shape.clone(),
        }));
        Self {
            ok: findings.is_empty(),
            layout: checkpoint.variant(),
            fingerprint: checkpoint.fingerprint().into(),
            folders: folders(checkpoint, &findings),
            components,
            findings,
            warnings: checkpoint.warnings().into(),
        }
    }
}

fn totals<'t>(name: &'static str, tensors: impl Iterator<Item = &'t Tensor>) -> ComponentReport {
    let mut report = ComponentReport { name, ..Default::default() };
    for tensor in tensors {
        report.tensors += 1;
        report.parameters += tensor.elements();
        report.bytes += tensor.bytes;
        *report.dtypes.entry(tensor.dtype.name()).or_default() += 1;
    }
    report
}

/// Counts the tensors that `findings` say nothing about, by folder.
fn folders(checkpoint: &Checkpoint, findings: &[Finding]) -> Vec<FolderReport> {
    let wrong: BTreeSet<_> = findings.iter().map(Finding::place).collect();
    let mut folders: BTreeMap<String, FolderReport> = BTreeMap::new();
    let mut count = |component: &'static str, name: &str, tensor: &Tensor| {
        let path = tensor.shard.path.parent().unwrap_or(Path::new(""));
        let path = path.strip_prefix(checkpoint.root()).unwrap_or(path).display().to_string();
        let entry = folders.entry(path.clone());
        let report = entry.or_insert(FolderReport { folder: path, tensors: 0, accounted: 0 });
        report.tensors += 1;
        report.accounted += usize::from(!wrong.contains(&(component, name)));
    };
    for (component, held) in checkpoint.components() {
        for (short, tensor) in &held.tensors {
            count(component.name(), &full_name(held, short), tensor);
        }
    }
    checkpoint.strangers().iter().for_each(|(name, tensor)| count("", name, tensor));
    folders.into_values().collect()
}

/// A tensor's name in the checkpoint.
fn full_name(held: &ComponentTensors, short: &str) -> String {
    format!("{}{short}", held.prefix)
}

/// What the graphs of one component ask for: names, and what is wrong with them.
#[derive(Default)]
struct Asked {
    files: BTreeMap<String, BTreeSet<&'static str>>,
    missing: BTreeMap<String, Vec<usize>>,
    wrong: BTreeMap<String, Vec<usize>>,
    submodules: BTreeMap<&'static str, usize>,
    /// What the model's own code got wrong for these configs.
    mistakes: Vec<String>,
}

fn ask(checkpoint: &Checkpoint, component: Component) -> Asked {
    let mut asked = Asked::default();
    let (configs, tensors) = (checkpoint.configs(), &checkpoint.components()[&component]);
    for submodule in configs.submodules().filter(|s| s.component() == component) {
        let built = build(submodule, configs, tensors, Precision::F32, Taps::None);
        let (names, errors) = match built {
            Ok(graph) => (graph.tensors, vec![]),
            Err(errors) => (errors.requested, errors.errors),
        };
        asked.submodules.insert(submodule.stem(), names.len());
        for name in names {
            asked.files.entry(name).or_default().insert(submodule.weights_stem());
        }
        for error in errors {
            match error {
                BuildError::MissingTensor { name, expected } => {
                    asked.missing.insert(name, expected);
                }
                BuildError::WrongShape { name, expected, .. } => {
                    asked.wrong.insert(name, expected);
                }
                mistake @ BuildError::Operands { .. } => asked.mistakes.push(mistake.to_string()),
            }
        }
    }
    for table in tables::of(checkpoint).into_iter().filter(|t| t.component == component) {
        ask_table(&table, tensors, &mut asked);
    }
    asked
}

/// A table is no graph's tensor: one of its names must be there.
fn ask_table(table: &tables::Table, held: &ComponentTensors, asked: &mut Asked) {
    let names = table.tensors.iter();
    let there: Vec<_> = names.filter_map(|&name| Some((name, held.tensors.get(name)?))).collect();
    if there.is_empty() {
        asked.missing.insert(table.tensors[0].into(), table.stored.clone());
    }
    for (name, _) in there.into_iter().filter(|(_, tensor)| tensor.shape != table.stored) {
        asked.wrong.insert(name.into(), table.stored.clone());
    }
}

fn component(
    checkpoint: &Checkpoint,
    component: Component,
    findings: &mut Vec<Finding>,
) -> ComponentReport {
    let held = &checkpoint.components()[&component];
    let asked = ask(checkpoint, component);
    let (name, full) = (component.name(), |short: &str| full_name(held, short));
    let layers = checkpoint.configs().planner.as_ref().map_or(0, |planner| planner.lm.layers());
    let reasons = held.tensors.keys().filter(|short| !asked.files.contains_key(*short));
    let skipped: BTreeMap<_, _> = reasons
        .filter_map(|short| Some((short.as_str(), component.skipped(short, layers)?)))
        .collect();

    for reason in asked.mistakes {
        findings.push(Finding::Graph { component: name, reason });
    }
    if held.tensors.is_empty() {
        findings.push(Finding::Absent { component: name });
        return ComponentReport { name, ..Default::default() };
    }
    for (short, expected) in asked.missing {
        findings.push(Finding::Missing { component: name, tensor: full(&short), expected });
    }
    for (short, expected) in asked.wrong {
        let found = held.tensors[&short].shape.clone();
        let tensor = full(&short);
        findings.push(Finding::WrongShape { component: name, tensor, expected, found });
    }
    for (short, tensor) in &held.tensors {
        let known = asked.files.contains_key(short) || skipped.contains_key(short.as_str());
        let (named, found) = (full(short), tensor.shape.clone());
        if !known {
            findings.push(Finding::Extra { component: name, tensor: named, found });
        } else if let StoredType::Other(found, _) = tensor.dtype {
            findings.push(Finding::WrongType { component: name, tensor: named, found });
        }
    }
    for (short, files) in asked.files.into_iter().filter(|(_, files)| files.len() > 1) {
        let files = files.into_iter().collect();
        findings.push(Finding::Shared { component: name, tensor: full(&short), files });
    }

    let mut report = totals(name, held.tensors.values());
    report.submodules = asked.submodules;
    report.skipped = skipped
        .into_iter()
        .map(|(short, reason)| SkippedTensor { tensor: full(short), reason })
        .collect();
    report
}
