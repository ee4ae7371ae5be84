//! Which graphs have operators of our own, and need the plugin library that runs them.

use std::path::Path;

use bernini_graphs::engines::PluginEntry;
use bernini_tensorrt::PluginLibrary;
use prost::Message;

use crate::files::{self, FileError, MAX_GRAPH};

/// ONNX domain of our operators; a graph without them does not import it.
const DOMAIN: &str = "bernini";

/// As much of an ONNX model as says which operators it has (onnx.proto).
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
}

/// Whether the graph of this file has operators that only a plugin runs.
pub(crate) fn is_needed(graph: &Path) -> Result<bool, FileError> {
    let model = Model::decode(files::read(graph, MAX_GRAPH)?.as_slice())
        .map_err(|error| FileError::Onnx { path: graph.into(), reason: error.to_string() })?;
    Ok(model.opset_import.iter().any(|set| set.domain == DOMAIN))
}

/// The library as manifests name it.
pub(crate) fn entry(library: &PluginLibrary) -> PluginEntry {
    let file = library.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    PluginEntry { file, blake3: library.blake3.clone() }
}

/// A model of these domains that is otherwise `name`.
#[cfg(test)]
pub(crate) fn model(name: &str, domains: &[&str]) -> Vec<u8> {
    let set = |domain: &&str| OperatorSet { domain: domain.to_string() };
    let model = Model { opset_import: domains.iter().map(set).collect() };
    // The producer's name, field 2: what a reader of opsets skips.
    [&[0x12, name.len() as u8], name.as_bytes(), &model.encode_to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_graphs_of_our_domain_need_the_plugin() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("graph.onnx");
        for (domains, expected) in
            [(&[""][..], false), (&["", "bernini"], true), (&["com.bernini"], false), (&[], false)]
        {
            std::fs::write(&path, model("a graph", domains)).unwrap();
            assert_eq!(is_needed(&path).unwrap(), expected, "{domains:?}");
        }
        std::fs::write(&path, "no graph").unwrap();
        let error = is_needed(&path).unwrap_err().to_string();
        assert!(error.contains("graph.onnx: not an ONNX model"), "{error}");
    }
}
