//! The flow-matching head that draws one embedding per revealed token (spec D.9).
//!
//! Reference: bernini/diffloss_fm.py, `SimpleMLPAdaLN`. Rows are independent of each other.

use crate::config::FlowHeadConfig;
use crate::nn::layer_norm;
use crate::submodule::flow_head::{COND, T_EMBED, VELOCITY, X};
use crate::{DType, Dim, GraphBuilder, Scope, Value};

/// Epsilon of every norm.
const EPS: f32 = 1e-6;
/// Width of the sinusoid of t.
const FREQ_DIM: usize = 256;

/// Traces the velocity network over `rows` rows at one time.
pub fn flow_head(g: &GraphBuilder<'_>, c: &FlowHeadConfig) {
    let rows = Dim::symbol("rows");
    let x = g.input(X, DType::F32, &[rows.clone(), c.target_channels.into()]).to_compute();
    let t_embed = g.input(T_EMBED, DType::F32, &[1.into(), FREQ_DIM.into()]);
    let cond = g.input(COND, DType::F32, &[rows, c.z_channels.into()]).to_compute();
    let s = g.root().at("net");

    let x = s.linear("input_proj", x, c.width);
    let time = s.at("time_embed").at("mlp").f32();
    let time = time.linear("2", time.linear("0", t_embed, c.width).silu(), c.width);
    let y = (time.to_compute() + s.linear("cond_embed", cond, c.width)).silu();
    let x = (0..c.depth).fold(x, |x, i| {
        let s = s.at("res_blocks").at(i);
        let [shift, scale, gate] = modulation(&s, c, y, 3);
        let u = s.layer_norm("in_ln", x, EPS) * scale.shift(1.0) + shift;
        let s = s.at("mlp");
        x + gate * s.linear("2", s.linear("0", u, c.width).silu(), c.width)
    });
    let s = s.at("final_layer");
    let [shift, scale, _] = modulation(&s, c, y, 2);
    let x = layer_norm(x, EPS).to_compute() * scale.shift(1.0) + shift;
    g.output(VELOCITY, s.linear("linear", x, c.target_channels), DType::F32);
}

/// Shift, scale and, of three parts, gate: `[rows, width]` each. The last of two repeats.
fn modulation<'g>(s: &Scope<'g>, c: &FlowHeadConfig, y: Value<'g>, parts: usize) -> [Value<'g>; 3] {
    let all = s.linear("adaLN_modulation.1", y, parts * c.width);
    [0, 1, parts - 1].map(|i| all.slice(1, (i * c.width) as i64..((i + 1) * c.width) as i64))
}
