//! The connector between planner, flow head and renderer (spec D.8).
//!
//! Reference: bernini/modeling_bernini.py, `connector`: two small stacks of linear layers.

use crate::config::{ConnectorConfig, PlannerConfig};
use crate::graph::Layout;
use crate::submodule::connector::{COND, HIDDEN, ROWS};
use crate::{DType, Dim, GraphBuilder};

/// Epsilon of both norms.
const EPS: f32 = 1e-6;

/// Traces `pred_vit`: hidden states of revealed tokens to conditions of the flow head.
pub fn pred_vit(g: &GraphBuilder<'_>, lm: &PlannerConfig, c: &ConnectorConfig) {
    let size = [Dim::symbol("batch"), Dim::symbol("rows"), lm.hidden_size.into()];
    let x = g.input(HIDDEN, DType::F32, &size).to_compute();
    let (s, out) = (g.root().at("pred_vit"), c.out_dim_for_vit);
    let x = s.linear("2", s.linear("0", x, out).gelu_erf(), out);
    g.output(COND, s.linear("4", s.rms_norm("3", x, EPS, Layout::AsIs), out), DType::F32);
}

/// Traces `proj_gen`: hidden states to rows of the renderer's context.
pub fn proj_gen(g: &GraphBuilder<'_>, lm: &PlannerConfig, c: &ConnectorConfig) {
    let size = [1.into(), Dim::symbol("tokens"), lm.hidden_size.into()];
    let x = g.input(HIDDEN, DType::F32, &size).to_compute();
    let (s, out) = (g.root().at("proj_gen"), c.out_dim_for_gen);
    let x = s.rms_norm("2", s.linear("0", x, out).gelu_erf(), EPS, Layout::AsIs);
    g.output(ROWS, s.linear("3", x, out), DType::F32);
}
