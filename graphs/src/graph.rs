//! A finished graph: typed nodes, weights by name, and nothing that is not used.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::onnx::DOMAIN;
use crate::ops::FP8_ATTENTION;
use crate::{DType, Dim, dim::show};

/// A named input or output of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Name that the runner uses.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Size of each axis.
    pub shape: Vec<Dim>,
}

/// A node attribute, as ONNX knows them.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// One integer.
    Int(i64),
    /// Several integers.
    Ints(Vec<i64>),
    /// One float.
    Float(f32),
    /// Text.
    Text(&'static str),
    /// A tensor of one f32 element.
    Tensor(f32),
}

/// One operation. Every op of the dialect has exactly one output.
#[derive(Clone, Debug)]
pub struct Node {
    /// ONNX op type.
    pub op: &'static str,
    /// Names of the inputs; empty for an optional input that is left out.
    pub inputs: Vec<String>,
    /// The output; its name is also the node's.
    pub output: Port,
    /// Attributes in the order in which they were given.
    pub attributes: Vec<(&'static str, Attribute)>,
}

impl Node {
    /// Domain of the op: empty for ONNX's own.
    pub fn domain(&self) -> &'static str {
        if self.op == FP8_ATTENTION { DOMAIN } else { "" }
    }
}

/// How a checkpoint tensor is rearranged on its way into the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Bytes in the checkpoint's order.
    AsIs,
    /// Rows of each head in the order even channels, then odd ones, so that rotary embedding
    /// becomes rotate-half. q·k is unchanged, since both sides are permuted alike.
    RotateHalf {
        /// Rows per head.
        head_dim: usize,
    },
    /// A patch convolution `[out, c, 1, ph, pw]` as a linear `[out, ph*pw*c]`.
    ChannelsLast,
}

/// A weight taken from the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Name in the checkpoint, without the submodule's prefix.
    pub tensor: String,
    /// Rearrangement to apply.
    pub layout: Layout,
    /// Divisor before rounding to E4M3; `None` for every other type.
    pub scale: Option<f32>,
    /// What of a matrix it is; `None` for all of it.
    pub magnitudes: Option<Magnitudes>,
}

/// Largest magnitudes of a matrix in f32, in the order of its layout, instead of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magnitudes {
    /// One of each row.
    Rows,
    /// One of each column.
    Columns,
}

/// Where the bytes of an initializer come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Little-endian bytes that travel inside the graph: scalars, shapes, ones.
    Inline(Vec<u8>),
    /// A checkpoint tensor, cast to the initializer's type, in the external data file.
    Weight(Weight),
}

/// A constant of the graph.
#[derive(Clone, Debug)]
pub struct Initializer {
    /// Name; a checkpoint tensor keeps the checkpoint's.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// Content.
    pub data: Data,
}

impl Initializer {
    /// Size of the content in bytes.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.dtype.bytes() as u64
    }
}

/// A complete typed graph of one submodule.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Stem of the submodule, such as `transformer_2`.
    pub name: String,
    /// Inputs in declaration order.
    pub inputs: Vec<Port>,
    /// Outputs in declaration order.
    pub outputs: Vec<Port>,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Constants in order of first use.
    pub initializers: Vec<Initializer>,
    /// Checkpoint tensors that the graph uses, without the submodule's prefix.
    pub tensors: BTreeSet<String>,
}

impl Graph {
    /// The initializers that come from the checkpoint, in order of first use.
    pub fn weights(&self) -> impl Iterator<Item = (&Initializer, &Weight)> {
        self.initializers.iter().filter_map(|init| match &init.data {
            Data::Weight(weight) => Some((init, weight)),
            Data::Inline(_) => None,
        })
    }

    /// One line per input, node and output: path, op, dtype, shape, operands.
    ///
    /// This is what is reviewed when a graph changes; the protobuf never is.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        let mut line = |kind: &str, port: &Port, rest: &str| {
            let shape = show(&port.shape);
            let _ = writeln!(text, "{kind:<20} {} {}{shape} {rest}", port.name, port.dtype);
        };
        self.inputs.iter().for_each(|port| line("input", port, ""));
        for node in &self.nodes {
            line(node.op, &node.output, &format!("<- {}", node.inputs.join(", ")));
        }
        self.outputs.iter().for_each(|port| line("output", port, ""));
        text
    }
}
