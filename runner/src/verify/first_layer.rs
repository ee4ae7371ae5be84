//! Where two exports part: the first layer that is beyond the limit.

use std::collections::{BTreeMap, BTreeSet};

use bernini_graphs::{Layer, Submodule};

use super::modules::output;
use super::{Limit, OutputReport, Side, VerifyError};
use crate::backend::{BackendError, OnnxRuntime};
use crate::package::Folder;
use crate::tensor::Tensor;

/// The first layer of `submodule` whose output is beyond the limit, by bisection: each run gives one
/// layer's output of both graphs, so that memory holds no more than those.
///
/// Errors mostly grow from layer to layer; where they do not, the layer found is one that is
/// beyond the limit behind one that is not. `None` for engines, whose values cannot be looked at,
/// where every layer is within the limit, and where the models have other widths.
pub fn first_layer(
    [(a, inputs_a), (b, inputs_b)]: [(Side<'_>, &[(String, Tensor)]); 2],
    submodule: Submodule,
    limit: &Limit,
) -> Result<Option<OutputReport>, VerifyError> {
    let (Some(of_a), Some(of_b)) = (graph(a, submodule)?, graph(b, submodule)?) else {
        return Ok(None);
    };
    let paths: BTreeSet<&str> = of_b.layers.keys().map(String::as_str).collect();
    let common: Vec<_> = of_a.order.iter().filter(|path| paths.contains(path.as_str())).collect();
    let compare = |index: usize| {
        let path = common[index];
        let [a, b] = [of_a.run(path, inputs_a)?, of_b.run(path, inputs_b)?];
        match output(submodule, path, &a, &b, limit) {
            // Models of other widths.
            Err(VerifyError::Contract { .. }) => Ok(None),
            measured => measured.map(Some),
        }
    };
    let Some(last) = common.len().checked_sub(1) else { return Ok(None) };
    let Some(mut found) = compare(last)?.filter(|report| !report.passed) else { return Ok(None) };
    let (mut start, mut end) = (0, last);
    while start < end {
        let middle = start + (end - start) / 2;
        let Some(report) = compare(middle)? else { return Ok(None) };
        if report.passed {
            start = middle + 1;
        } else {
            (end, found) = (middle, report);
        }
    }
    Ok(Some(found))
}

/// One submodule of an export, whose values can be looked at.
struct Graph<'a> {
    side: &'a str,
    submodule: Submodule,
    runtime: OnnxRuntime,
    /// Paths in the order in which the layers end.
    order: Vec<String>,
    /// Path → the value that the layer gives.
    layers: BTreeMap<String, String>,
}

fn graph(side: Side<'_>, submodule: Submodule) -> Result<Option<Graph<'_>>, VerifyError> {
    let Folder::Export(export) = side.folder else { return Ok(None) };
    let failed = |source: BackendError| VerifyError::Backend {
        side: side.name.into(),
        source: Box::new(source),
    };
    let runtime = OnnxRuntime::new(export.clone()).map_err(failed)?;
    let layers = runtime.layers(submodule).map_err(failed)?;
    let order = layers.iter().map(|layer| layer.path.clone()).collect();
    let layers = layers.into_iter().map(|Layer { path, value }| (path, value)).collect();
    Ok(Some(Graph { side: side.name, submodule, runtime, order, layers }))
}

impl Graph<'_> {
    /// What the layer at `path` gives, under that name.
    fn run(
        &self,
        path: &str,
        inputs: &[(String, Tensor)],
    ) -> Result<BTreeMap<String, Tensor>, VerifyError> {
        let failed = |source: BackendError| VerifyError::Backend {
            side: self.side.into(),
            source: Box::new(source),
        };
        let value = &self.layers[path];
        let mut session = self.runtime.load_value(self.submodule, value).map_err(failed)?;
        let feed: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let tensor = session.run(&feed).and_then(|mut outputs| outputs.take(value));
        Ok(BTreeMap::from([(path.into(), tensor.map_err(failed)?)]))
    }
}
