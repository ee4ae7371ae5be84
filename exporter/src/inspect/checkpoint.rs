//! Accounts for every tensor of a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bernini_graphs::manifest::Variant;
use bernini_graphs::models::build;
use bernini_graphs::{BuildError, Component, Precision, Submodule};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, PLANNER_PREFIXES, StoredType, Tensor};

/// A tensor that breaks the contract. Names are the checkpoint's own, prefix included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Finding {
    /// A graph needs it and the checkpoint lacks it.
    Missing {
        /// Component that needs it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Shape that is needed.
        expected: Vec<usize>,
    },
    /// No graph reads it.
    Extra {
        /// Component in whose files it is; empty where its prefix is unknown.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Its shape is not the one that the configs imply.
    WrongShape {
        /// Component that reads it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Shape that is needed.
        expected: Vec<usize>,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Its type is not that of a weight.
    WrongType {
        /// Component that reads it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Its type in safetensors.
        found: &'static str,
    },
    /// Two weights files would hold it.
    Shared {
        /// Component that reads it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Stems of the files.
        files: Vec<&'static str>,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { component, tensor, expected } => {
                write!(f, "{component}: tensor {tensor} is missing: expected shape {expected:?}")
            }
            Self::Extra { component: "", tensor, found } => {
                write!(f, "tensor {tensor} {found:?} has a prefix that no component has")
            }
            Self::Extra { component, tensor, found } => {
                write!(f, "{component}: tensor {tensor} {found:?} is extra: no graph reads it")
            }
            Self::WrongShape { component, tensor, expected, found } => {
                let shapes = format!("expected shape {expected:?}, found {found:?}");
                write!(f, "{component}: tensor {tensor}: {shapes}")
            }
            Self::WrongType { component, tensor, found } => {
                write!(f, "{component}: tensor {tensor}: expected F32, F16 or BF16, found {found}")
            }
            Self::Shared { component, tensor, files } => {
                write!(f, "{component}: tensor {tensor} is used by {}", files.join(" and "))
            }
        }
    }
}

/// A tensor that is known and that no graph reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SkippedTensor {
    /// Name, or prefix of many names.
    pub tensor: String,
    /// Why.
    pub reason: &'static str,
}

/// Totals of one component, or of one prefix of the planner.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ComponentReport {
    /// Name of the component, or prefix.
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

/// What a checkpoint holds.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointReport {
    /// Whether every tensor is accounted for.
    pub ok: bool,
    /// Full package or renderer only.
    pub layout: Variant,
    /// Which weights these are.
    pub fingerprint: String,
    /// Components that are exported.
    pub components: Vec<ComponentReport>,
    /// The planner's tensors, by prefix.
    pub planner: Vec<ComponentReport>,
    /// What breaks the contract.
    pub findings: Vec<Finding>,
    /// What is odd but not wrong.
    pub warnings: Vec<String>,
}

impl CheckpointReport {
    /// Builds every graph from names and shapes alone.
    pub fn new(checkpoint: &Checkpoint) -> Self {
        let mut findings = vec![];
        let components: Vec<_> =
            Component::ALL.map(|c| component(checkpoint, c, &mut findings)).into();
        findings.extend(checkpoint.strangers().iter().map(|(name, tensor)| Finding::Extra {
            component: "",
            tensor: name.clone(),
            found: tensor.shape.clone(),
        }));
        Self {
            ok: findings.is_empty(),
            layout: checkpoint.variant(),
            fingerprint: checkpoint.fingerprint().into(),
            components,
            planner: planner(checkpoint),
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

fn planner(checkpoint: &Checkpoint) -> Vec<ComponentReport> {
    let tensors = checkpoint.planner();
    let part = |prefix: &&'static str| {
        let held = tensors.iter().filter(|(name, _)| name.starts_with(prefix));
        let mut report = totals(prefix, held.map(|(_, tensor)| tensor));
        let reason = "planner: not exported by this version";
        report.skipped = vec![SkippedTensor { tensor: format!("{prefix}*"), reason }];
        report
    };
    PLANNER_PREFIXES.iter().map(part).filter(|part| part.tensors > 0).collect()
}

/// What the graphs of one component ask for: names, and what is wrong with them.
#[derive(Default)]
struct Asked {
    files: BTreeMap<String, BTreeSet<&'static str>>,
    missing: BTreeMap<String, Vec<usize>>,
    wrong: BTreeMap<String, Vec<usize>>,
    submodules: BTreeMap<&'static str, usize>,
}

fn ask(checkpoint: &Checkpoint, component: Component) -> Asked {
    let mut asked = Asked::default();
    for submodule in Submodule::ALL.into_iter().filter(|s| s.component() == component) {
        let tensors = checkpoint.component(component);
        let built = build(submodule, checkpoint.configs(), tensors, Precision::F32, false);
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
                // A mistake in a model function; the export reports it as such.
                BuildError::Operands { .. } => {}
            }
        }
    }
    if component == Component::TextEncoder {
        ask_table(checkpoint, &mut asked);
    }
    asked
}

/// The token embedding is a table and no graph's tensor: one of its two names must be there.
fn ask_table(checkpoint: &Checkpoint, asked: &mut Asked) {
    let c = &checkpoint.configs().text_encoder;
    let expected = vec![c.vocab_size, c.d_model];
    let tensors = &checkpoint.component(Component::TextEncoder).tensors;
    let names = Component::TextEncoder.skipped().iter().map(|(name, _)| *name);
    let there: Vec<_> = names.filter_map(|name| Some((name, tensors.get(name)?))).collect();
    if there.is_empty() {
        asked.missing.insert("shared.weight".into(), expected.clone());
    }
    for (name, tensor) in there {
        if tensor.shape != expected {
            asked.wrong.insert(name.into(), expected.clone());
        }
    }
}

fn component(
    checkpoint: &Checkpoint,
    component: Component,
    findings: &mut Vec<Finding>,
) -> ComponentReport {
    let held = checkpoint.component(component);
    let asked = ask(checkpoint, component);
    let (name, full) = (component.name(), |short: &str| format!("{}{short}", held.prefix));
    let skipped: Vec<_> =
        component.skipped().iter().filter(|(s, _)| held.tensors.contains_key(*s)).collect();

    for (short, expected) in asked.missing {
        findings.push(Finding::Missing { component: name, tensor: full(&short), expected });
    }
    for (short, expected) in asked.wrong {
        let found = held.tensors[&short].shape.clone();
        let tensor = full(&short);
        findings.push(Finding::WrongShape { component: name, tensor, expected, found });
    }
    for (short, tensor) in &held.tensors {
        let known = asked.files.contains_key(short) || skipped.iter().any(|(s, _)| s == short);
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
