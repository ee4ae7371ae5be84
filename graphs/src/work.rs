//! How much arithmetic a graph asks for: what a measured time is compared with.

use std::collections::HashMap;

use crate::manifest::WorkEntry;
use crate::ops::FP8_ATTENTION;
use crate::{DType, Dim, Graph, Node};

impl Graph {
    /// FLOPs of all products and convolutions, by the numbers that they multiply, as polynomials of
    /// the graph's sizes. A multiplication and an addition count as two.
    pub fn work(&self) -> WorkEntry {
        let shapes = Shapes::of(self);
        let mut sums: [Dim; 3] = Default::default();
        for node in &self.nodes {
            if let Some(flops) = shapes.flops(node) {
                let sum = &mut sums[shapes.kind(node) as usize];
                *sum = &*sum + &flops;
            }
        }
        let [fp8, bf16, f32] = sums.map(|sum| sum.to_string());
        WorkEntry { fp8, bf16, f32 }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Fp8,
    Bf16,
    F32,
}

/// What is known of every value by name.
struct Shapes<'g> {
    shapes: HashMap<&'g str, Vec<Dim>>,
    nodes: HashMap<&'g str, &'g Node>,
}

impl<'g> Shapes<'g> {
    fn of(graph: &'g Graph) -> Self {
        let outputs = graph.nodes.iter().map(|node| &node.output);
        let ports = graph.inputs.iter().chain(outputs);
        let ports = ports.map(|port| (port.name.as_str(), port.shape.clone()));
        let constants = graph.initializers.iter().map(|constant| {
            (constant.name.as_str(), constant.shape.iter().map(|&n| n.into()).collect())
        });
        let nodes = graph.nodes.iter().map(|node| (node.output.name.as_str(), node));
        Self { shapes: ports.chain(constants).collect(), nodes: nodes.collect() }
    }

    fn flops(&self, node: &Node) -> Option<Dim> {
        let [x, y] =
            [0, 1].map(|i| Some(self.shapes.get(node.inputs.get(i)?.as_str())?.as_slice()));
        let terms: &[Dim] = match node.op {
            "MatMul" => std::slice::from_ref(x?.last()?),
            "Conv" => &y?[1..],
            // Both products: every query meets every key, and every probability its value.
            FP8_ATTENTION => &[&y?[y?.len() - 2] * &2.into()],
            _ => return None,
        };
        let product = |dims: &[Dim]| dims.iter().fold(Dim::from(1), |product, dim| &product * dim);
        Some(&(&product(&node.output.shape) * &product(terms)) * &2.into())
    }

    /// A product is in FP8 where both operands were quantised.
    fn kind(&self, node: &Node) -> Kind {
        let quantised = node.inputs.iter().take(2).all(|name| self.is_dequantised(name));
        match node.output.dtype {
            _ if quantised || node.op == FP8_ATTENTION => Kind::Fp8,
            DType::F32 => Kind::F32,
            _ => Kind::Bf16,
        }
    }

    /// Whether a value comes out of a DequantizeLinear, transposed or not.
    fn is_dequantised(&self, name: &str) -> bool {
        let Some(node) = self.nodes.get(name) else { return false };
        match node.op {
            "DequantizeLinear" => true,
            "Transpose" => self.is_dequantised(&node.inputs[0]),
            _ => false,
        }
    }
}
