//! An ONNX model of one attention node and what makes its output readable (onnx.proto).

use prost::Message;

const FLOAT: i32 = 1;
const BF16: i32 = 16;
const E4M3: i32 = 17;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, optional, tag = "2")]
    f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    s: Option<Vec<u8>>,
    #[prost(int32, tag = "20")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

/// An attribute of the node.
pub enum Value {
    Int(i64),
    Float(f32),
    Text(&'static str),
}

/// One axis: a size, or a symbol.
#[derive(Clone, Copy)]
pub enum Axis {
    Size(usize),
    Symbol(&'static str),
}

/// bf16 constants, by name: shape and bytes.
pub type Constants = Vec<(&'static str, Vec<usize>, Vec<u8>)>;

/// `out` bf16 = DequantizeLinear(Fp8Attention(inputs, norms), out_scale), of inputs bf16 or, with
/// rank 2, f32. The node takes `order`; `constants` has the norms and `out_scale`.
pub fn attention(
    inputs: &[(&str, Vec<Axis>)],
    constants: Constants,
    order: &[&str],
    attributes: &[(&str, Value)],
) -> Vec<u8> {
    let node = |op: &str, domain: &str, input: &[&str], output: &str, attribute| Node {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        name: output.into(),
        op_type: op.into(),
        attribute,
        domain: domain.into(),
    };
    let attributes = attributes.iter().map(attribute).collect();
    let zero = Tensor { dims: vec![], data_type: E4M3, name: "zero".into(), raw_data: vec![0] };
    let constants = constants.into_iter().map(|(name, shape, raw_data)| Tensor {
        dims: shape.into_iter().map(|n| n as i64).collect(),
        data_type: BF16,
        name: name.into(),
        raw_data,
    });
    let (_, out_shape) = &inputs[0];
    let graph = Graph {
        node: vec![
            node("Fp8Attention", "bernini", order, "codes", attributes),
            node("DequantizeLinear", "", &["codes", "out_scale", "zero"], "out", vec![]),
        ],
        name: "attention".into(),
        initializer: constants.chain([zero]).collect(),
        input: inputs.iter().map(|(name, shape)| value(name, shape)).collect(),
        output: vec![value("out", out_shape)],
    };
    let set = |domain: &str, version| OperatorSet { domain: domain.into(), version };
    let opset_import = vec![set("", 20), set("bernini", 1)];
    Model { ir_version: 9, graph: Some(graph), opset_import }.encode_to_vec()
}

fn attribute((name, value): &(&str, Value)) -> Attribute {
    let empty = Attribute { name: name.to_string(), ..Attribute::default() };
    match value {
        Value::Float(f) => Attribute { f: Some(*f), r#type: 1, ..empty },
        Value::Int(i) => Attribute { i: Some(*i), r#type: 2, ..empty },
        Value::Text(text) => Attribute { s: Some(text.as_bytes().into()), r#type: 3, ..empty },
    }
}

fn value(name: &str, shape: &[Axis]) -> ValueInfo {
    let dim = |axis: &Axis| match *axis {
        Axis::Size(size) => Dimension { dim_value: Some(size as i64), dim_param: None },
        Axis::Symbol(name) => Dimension { dim_value: None, dim_param: Some(name.into()) },
    };
    let elem_type = if shape.len() == 2 { FLOAT } else { BF16 };
    let shape = Some(Shape { dim: shape.iter().map(dim).collect() });
    let tensor_type = Some(TensorType { elem_type, shape });
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type }) }
}
