//! Whether an engine is built or taken as it is, and why.

use bernini_graphs::engines::{EngineEntry, EnginesManifest};
use bernini_graphs::manifest::ExportManifest;
use serde::Serialize;

use crate::key::Platform;
use crate::store::Found;
use crate::wanted::Wanted;

/// What happens to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is built.
    Build,
    /// It is there already.
    Reuse,
    /// Not known without TensorRT and a GPU: both are part of an engine's key.
    Unknown,
}

/// Why an engine that was looked for is built; `None` where it is there.
pub(crate) fn why_build(
    found: &Found,
    wanted: &Wanted<'_>,
    export: &ExportManifest,
    old: Option<&EnginesManifest>,
    platform: &Platform,
) -> Option<String> {
    match found {
        Found::Yes(_) => None,
        Found::Damaged(error) => Some(format!("the plan is damaged: {error}")),
        Found::No => {
            let stem = wanted.submodule.stem();
            let entry = old.and_then(|old| Some((old, old.engines.get(stem)?)));
            Some(match entry {
                None => "not built yet".into(),
                Some((old, entry)) => changed(wanted, export, old, entry, platform),
            })
        }
    }
}

/// The ingredient that is not what it was, as far as a manifest tells.
fn changed(
    wanted: &Wanted<'_>,
    export: &ExportManifest,
    old: &EnginesManifest,
    entry: &EngineEntry,
    platform: &Platform,
) -> String {
    let pairs = [
        ("TensorRT", &old.tensorrt, &platform.tensorrt),
        ("GPU", &old.gpu.name, &platform.gpu),
        ("compute capability", &old.gpu.compute_capability, &platform.compute_capability),
    ];
    if let Some((what, before, now)) = pairs.into_iter().find(|(_, before, now)| before != now) {
        return format!("{what} was {before}, is {now}");
    }
    if let (Some(before), Some(now)) = (&entry.plugin, &wanted.plugin)
        && before.blake3 != now.blake3
    {
        return "plugin changed".into();
    }
    if old.precision != export.precision || old.policy != export.policy {
        return "precision or policy changed".into();
    }
    if old.source != export.source {
        return "another checkpoint".into();
    }
    let known = |sizes| entry.profiles.iter().any(|profile| profile.sizes == sizes);
    let new = wanted.profiles.iter().find(|profile| !known(profile.sizes.clone()));
    match new {
        Some(profile) => format!("the profile {:?} is new", profile.name),
        None if entry.profiles.len() != wanted.profiles.len() => {
            "fewer profiles are asked for".into()
        }
        None => "graph, weights, scales or build flags changed".into(),
    }
}
