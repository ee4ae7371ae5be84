//! The part of an expert that sees the context only: cross-attention keys and values of every
//! block (spec B.5, B.6 step 5). Run once per (expert, context); 2.1 B parameters leave each step.
//!
//! Reference: diffusers 0.35.2, `WanTextProjection` and `WanAttention` with its `norm_k`.

use super::dit::attention;
use crate::config::TransformerConfig;
use crate::graph::Layout;
use crate::submodule::transformer::{CONTEXT, KEYS, VALUES};
use crate::{DType, Dim, GraphBuilder, Value, concat};

/// Traces the context path over `context` rows, zero rows included: they take part in attention.
pub fn transformer_context(g: &GraphBuilder<'_>, c: &TransformerConfig) {
    let l = Dim::symbol("context");
    let context = g.input(CONTEXT, DType::F32, &[1.into(), l, c.text_dim.into()]);
    let s = g.root().at("condition_embedder").at("text_embedder");
    let x = s.linear("linear_1", context.to_compute(), c.dim()).gelu_tanh();
    let x = s.linear("linear_2", x, c.dim());

    let (mut keys, mut values) = (vec![], vec![]);
    for i in 0..c.num_layers {
        let s = g.root().at("blocks").at(i).at("attn2");
        keys.push(s.rms_norm("norm_k", s.linear("to_k", x, c.dim()), c.eps, Layout::AsIs));
        values.push(s.linear("to_v", x, c.dim()));
    }
    let compute = g.precision.compute();
    g.output(KEYS, stack(c, &keys), compute);
    g.output(VALUES, stack(c, &values), compute);
}

/// `[layers, 1, heads, context, head_dim]`.
fn stack<'g>(c: &TransformerConfig, layers: &[Value<'g>]) -> Value<'g> {
    let split: Vec<_> = layers
        .iter()
        .map(|&x| attention(c).split(x).rearrange("b h n d -> 1 b h n d", &[]))
        .collect();
    concat(0, &split)
}
