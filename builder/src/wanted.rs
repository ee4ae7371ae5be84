//! What is asked for: the submodules that the workloads need, with numbers for every shape.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::engines::{PluginEntry, ProfileEntry, SizeRange};
use bernini_graphs::manifest::{PortEntry, SubmoduleEntry};

use crate::build::Options;
use crate::error::BuildError;
use crate::export::Export;
use crate::files;
use crate::key::{Flags, Ingredients, InputRange, Platform};
use crate::plugin;
use crate::profiles::profiles;

/// One engine that is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) submodule: Submodule,
    pub(crate) graph: &'a SubmoduleEntry,
    pub(crate) profiles: Vec<ProfileEntry>,
    /// Inputs of each profile.
    pub(crate) ranges: Vec<Vec<InputRange>>,
    /// The library of the graph's own operators, where it has some.
    pub(crate) plugin: Option<PluginEntry>,
}

impl Wanted<'_> {
    pub(crate) fn key(&self, flags: Flags, platform: &Platform) -> String {
        let graph = &self.graph.graph.blake3;
        let (weights, profiles) = (&self.graph.weights.blake3, &self.ranges);
        let plugin = self.plugin.as_ref().map(|plugin| plugin.blake3.as_str());
        Ingredients { graph, weights, profiles, flags, platform, plugin }.key()
    }
}

/// The engines that the workloads run, or those of them that the user named, in pipeline order.
pub(crate) fn wanted<'a>(
    export: &'a Export,
    options: &Options,
) -> Result<Vec<Wanted<'a>>, BuildError> {
    let Options { workloads, only, .. } = options;
    let mut profiles = profiles(workloads, export.vision_window()?);
    if let Some(&submodule) = only.iter().find(|&&name| export.submodule(name).is_none()) {
        let known = export.manifest().submodules.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(BuildError::NotInExport { submodule, known });
    }
    if let Some(&submodule) = only.iter().find(|name| !profiles.contains_key(name)) {
        let workloads = workloads.iter().map(|w| w.name.as_str()).collect::<Vec<_>>().join(",");
        return Err(BuildError::NotNeeded { submodule, workloads });
    }
    profiles.retain(|submodule, _| only.is_empty() || only.contains(submodule));
    let found = profiles.into_iter().filter_map(|(submodule, profiles)| {
        export.submodule(submodule).map(|graph| (submodule, graph, profiles))
    });
    let wanted: Vec<_> = found
        .map(|(submodule, graph, profiles)| {
            let ranges = profiles.iter().map(|profile| inputs(submodule, graph, profile));
            let ranges = ranges.collect::<Result<_, _>>()?;
            let plugin = plugin_of(export, submodule, graph, options)?;
            Ok(Wanted { submodule, graph, profiles, ranges, plugin })
        })
        .collect::<Result<_, BuildError>>()?;
    if wanted.is_empty() { Err(BuildError::Nothing) } else { Ok(wanted) }
}

/// The library that the graph needs, if it needs one.
fn plugin_of(
    export: &Export,
    submodule: Submodule,
    graph: &SubmoduleEntry,
    options: &Options,
) -> Result<Option<PluginEntry>, BuildError> {
    if !plugin::is_needed(&files::path(export.folder(), &graph.graph.file)?)? {
        return Ok(None);
    }
    let library = options.plugin.as_ref().ok_or(BuildError::NoPlugin { submodule })?;
    Ok(Some(plugin::entry(library)))
}

/// Shapes of every input in one profile; outputs must have shapes too.
fn inputs(
    submodule: Submodule,
    graph: &SubmoduleEntry,
    profile: &ProfileEntry,
) -> Result<Vec<InputRange>, BuildError> {
    let sizes = |port: &PortEntry, part: fn(&SizeRange) -> usize| {
        let sizes: BTreeMap<_, _> =
            profile.sizes.iter().map(|(name, range)| (name.clone(), part(range))).collect();
        port.sizes(&sizes).ok_or_else(|| BuildError::Shape {
            submodule,
            port: port.name.clone(),
            shape: format!("[{}]", port.shape.join(", ")),
            known: profile.sizes.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    };
    for port in &graph.outputs {
        sizes(port, |range| range.max)?;
    }
    let range = |port: &PortEntry| {
        Ok(InputRange {
            name: port.name.clone(),
            min: sizes(port, |range| range.min)?,
            opt: sizes(port, |range| range.opt)?,
            max: sizes(port, |range| range.max)?,
        })
    };
    graph.inputs.iter().map(range).collect()
}
