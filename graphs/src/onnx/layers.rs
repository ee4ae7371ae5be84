//! Reads an ONNX file of ours back, to look at what its layers give.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::{ModelProto, ValueInfoProto};

/// A graph as its file has it.
pub struct OnnxFile(ModelProto);

/// A file that is no ONNX model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ONNX file: expected a model, found other bytes ({reason}); export it again")]
pub struct OnnxFileError {
    /// What the decoder says.
    reason: String,
}

/// A layer: what has a weight of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its path, the name of the weight less `.weight`.
    pub path: String,
    /// Name of the value that it gives.
    pub value: String,
}

impl OnnxFile {
    /// The model in `bytes`.
    ///
    /// # Errors
    /// [`OnnxFileError`] where there is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, OnnxFileError> {
        let model = ModelProto::decode(bytes);
        model.map(Self).map_err(|error| OnnxFileError { reason: error.to_string() })
    }

    /// Every layer, in the order in which they end.
    ///
    /// Precision changes what lies inside a layer, not what it is called or gives, so two graphs of
    /// one submodule can be compared layer by layer.
    pub fn layers(&self) -> Vec<Layer> {
        let Some(graph) = &self.0.graph else { return vec![] };
        let names = graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref());
        let paths: BTreeSet<&str> = names.filter_map(|name| name.strip_suffix(".weight")).collect();
        let mut last: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (position, value) in graph.node.iter().flat_map(|node| &node.output).enumerate() {
            // Nodes are named after the scope that they are made in.
            let scope = value.split_once('/').map_or("", |(scope, _)| scope);
            if let Some(path) = paths.get(scope) {
                last.insert(path, (position, value));
            }
        }
        let mut layers: Vec<_> = last.into_iter().collect();
        layers.sort_by_key(|(_, (position, _))| *position);
        let layer = |(path, (_, value)): (&str, (_, &str))| Layer {
            path: path.into(),
            value: value.into(),
        };
        layers.into_iter().map(layer).collect()
    }

    /// Bytes of the model with `value` as its only output.
    pub fn with_output(mut self, value: &str) -> Vec<u8> {
        if let Some(graph) = &mut self.0.graph {
            // Type and shape follow from the nodes.
            graph.output = vec![ValueInfoProto { name: Some(value.into()), r#type: None }];
        }
        self.0.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, ExternalData, GraphBuilder, Precision};

    #[test]
    fn layers_are_read_back_in_order_and_one_becomes_the_output() {
        let shapes = BTreeMap::from([
            ("b.weight".to_string(), vec![3, 5]),
            ("b.bias".to_string(), vec![3]),
            ("a.0.weight".to_string(), vec![4, 3]),
        ]);
        let g = GraphBuilder::new("test", &shapes, Precision::F32);
        let x = g.input("x", DType::F32, &[2.into(), 5.into()]);
        let y = g.root().linear("b", x, 3).silu();
        g.output("y", g.root().linear_no_bias("a.0", y, 4), DType::F32);
        let bytes = g
            .finish()
            .unwrap()
            .encode(&ExternalData { location: "weights".into(), offsets: BTreeMap::new() });
        let layers = OnnxFile::parse(&bytes).unwrap().layers();
        let layer = |path: &str, value: &str| Layer { path: path.into(), value: value.into() };
        assert_eq!(layers, [layer("b", "b/Add"), layer("a.0", "a.0/MatMul")]);
        let edited = OnnxFile::parse(&bytes).unwrap().with_output("b/Add");
        let outputs = OnnxFile::parse(&edited).unwrap().0.graph.unwrap().output;
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0].name.as_deref(), Some("b/Add"));
        assert!(OnnxFile::parse(b"not a model").is_err());
    }
}
