//! The ONNX file format: the dozen messages that a graph needs, and the writer.
//!
//! Field numbers and types are facts of the ONNX specification (onnx.proto, proto2). Weights lie
//! in an external data file beside the graph; constants made here travel inside it.

mod layers;

use std::collections::BTreeMap;

use prost::Message;

use crate::graph::{Attribute, Data};
use crate::{Dim, Graph, Initializer, Node, Port};

pub use layers::{Layer, OnnxFile, OnnxFileError};

/// Opset of every graph: the newest one that ONNX Runtime, TensorRT 10.6 and 11 all take.
pub const OPSET: i64 = 20;
/// ONNX file format version that goes with [`OPSET`].
pub const IR_VERSION: i64 = 9;

/// Domain of the ops that TensorRT runs as plugins of ours.
pub const DOMAIN: &str = "bernini";
/// Version of [`DOMAIN`]. A graph imports the domain only where it has a node of it.
pub const DOMAIN_VERSION: i64 = 1;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, optional, tag = "1")]
    ir_version: Option<i64>,
    #[prost(string, optional, tag = "2")]
    producer_name: Option<String>,
    #[prost(string, optional, tag = "3")]
    producer_version: Option<String>,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, optional, tag = "1")]
    domain: Option<String>,
    #[prost(int64, optional, tag = "2")]
    version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, optional, tag = "3")]
    name: Option<String>,
    #[prost(string, optional, tag = "4")]
    op_type: Option<String>,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
    #[prost(string, optional, tag = "7")]
    domain: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(float, optional, tag = "2")]
    f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    s: Option<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    t: Option<TensorProto>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, optional, tag = "20")]
    r#type: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, optional, tag = "2")]
    data_type: Option<i32>,
    #[prost(string, optional, tag = "8")]
    name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "9")]
    raw_data: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<StringStringEntryProto>,
    #[prost(int32, optional, tag = "14")]
    data_location: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct StringStringEntryProto {
    #[prost(string, optional, tag = "1")]
    key: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, optional, tag = "1")]
    elem_type: Option<i32>,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

/// Where the external data of a graph lies.
#[derive(Clone, Debug)]
pub struct ExternalData {
    /// File name, beside the graph.
    pub location: String,
    /// Byte offset of every weight by initializer name.
    pub offsets: BTreeMap<String, u64>,
}

impl Graph {
    /// The bytes of the `.onnx` file, whose weights lie in `data`.
    pub fn encode(&self, data: &ExternalData) -> Vec<u8> {
        let graph = GraphProto {
            node: self.nodes.iter().map(node).collect(),
            name: Some(self.name.clone()),
            initializer: self.initializers.iter().map(|init| tensor(init, data)).collect(),
            input: self.inputs.iter().map(value_info).collect(),
            output: self.outputs.iter().map(value_info).collect(),
        };
        let set = |domain: &str, version| OperatorSetIdProto {
            domain: Some(domain.into()),
            version: Some(version),
        };
        let ours = self.nodes.iter().any(|node| node.domain() == DOMAIN);
        let ours = ours.then(|| set(DOMAIN, DOMAIN_VERSION));
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("bernini".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            graph: Some(graph),
            opset_import: [Some(set("", OPSET)), ours].into_iter().flatten().collect(),
        };
        model.encode_to_vec()
    }
}

fn node(node: &Node) -> NodeProto {
    NodeProto {
        input: node.inputs.clone(),
        output: vec![node.output.name.clone()],
        name: Some(node.output.name.clone()),
        op_type: Some(node.op.into()),
        attribute: node.attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        domain: Some(node.domain()).filter(|domain| !domain.is_empty()).map(Into::into),
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let empty = AttributeProto { name: Some(name.into()), ..Default::default() };
    match value {
        Attribute::Float(f) => AttributeProto { f: Some(*f), r#type: Some(1), ..empty },
        Attribute::Int(i) => AttributeProto { i: Some(*i), r#type: Some(2), ..empty },
        Attribute::Text(s) => {
            AttributeProto { s: Some(s.as_bytes().into()), r#type: Some(3), ..empty }
        }
        Attribute::Tensor(x) => {
            let t = TensorProto {
                dims: vec![1],
                data_type: Some(crate::DType::F32.onnx()),
                raw_data: Some(x.to_le_bytes().into()),
                ..Default::default()
            };
            AttributeProto { t: Some(t), r#type: Some(4), ..empty }
        }
        Attribute::Ints(ints) => AttributeProto { ints: ints.clone(), r#type: Some(7), ..empty },
    }
}

fn tensor(init: &Initializer, data: &ExternalData) -> TensorProto {
    let tensor = TensorProto {
        dims: init.shape.iter().map(|&n| n as i64).collect(),
        data_type: Some(init.dtype.onnx()),
        name: Some(init.name.clone()),
        ..Default::default()
    };
    match &init.data {
        Data::Inline(bytes) => TensorProto { raw_data: Some(bytes.clone()), ..tensor },
        Data::Weight(_) => {
            let offset = data.offsets.get(&init.name).copied().unwrap_or_default();
            let entries = [
                ("location", data.location.clone()),
                ("offset", offset.to_string()),
                ("length", init.bytes().to_string()),
            ];
            let external_data = entries
                .map(|(key, value)| StringStringEntryProto {
                    key: Some(key.into()),
                    value: Some(value),
                })
                .into();
            TensorProto { external_data, data_location: Some(1), ..tensor }
        }
    }
}

fn value_info(port: &Port) -> ValueInfoProto {
    let dim = |dim: &Dim| match dim.number() {
        Some(n) => DimensionProto { dim_value: Some(n as i64), dim_param: None },
        None => DimensionProto { dim_value: None, dim_param: Some(dim.to_string()) },
    };
    let shape = TensorShapeProto { dim: port.shape.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type: Some(port.dtype.onnx()), shape: Some(shape) };
    let r#type = TypeProto { tensor_type: Some(tensor) };
    ValueInfoProto { name: Some(port.name.clone()), r#type: Some(r#type) }
}
