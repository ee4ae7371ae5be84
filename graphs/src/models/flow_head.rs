//! The flow-matching head that draws one embedding per revealed token (spec D.9), in two graphs.
//!
//! 60 % of its weights see the time and the condition only, not x. Their products for all steps of a
//! draw are one run, [`modulation`]; [`flow_head`] is then a step over what is left, guidance and
//! Euler's rule included, so that a draw never leaves the GPU. The same sums as step by step.
//!
//! Reference: bernini/diffloss_fm.py, `SimpleMLPAdaLN`. Rows are independent of each other.

use crate::config::FlowHeadConfig;
use crate::nn::layer_norm;
use crate::submodule::flow_head::{COND, MODULATION, NEXT, T_EMBED, VELOCITY, WEIGHTS, X};
use crate::{DType, Dim, GraphBuilder, Value, concat};

/// Epsilon of every norm.
const EPS: f32 = 1e-6;
/// Width of the sinusoid of t.
const FREQ_DIM: usize = 256;

/// Traces the modulation of `rows` tokens in `batch` branches at `steps` times.
pub fn modulation(g: &GraphBuilder<'_>, c: &FlowHeadConfig) {
    let [steps, batch, rows] = ["steps", "batch", "rows"].map(Dim::symbol);
    let t_embed = g.input(T_EMBED, DType::F32, &[steps, FREQ_DIM.into()]);
    let cond = g.input(COND, DType::F32, &[batch, rows, c.z_channels.into()]).to_compute();
    let s = g.root().at("net");

    let time = s.at("time_embed").at("mlp").f32();
    let time = time.linear("2", time.linear("0", t_embed, c.width).silu(), c.width);
    let time = time.to_compute().rearrange("s c -> s 1 1 c", &[]);
    let y = (time + s.linear("cond_embed", cond, c.width)).silu();
    let blocks = (0..c.depth).map(|i| (s.at("res_blocks").at(i), 3));
    let parts = blocks.chain([(s.at("final_layer"), 2)]);
    let parts: Vec<_> =
        parts.map(|(s, parts)| s.linear("adaLN_modulation.1", y, parts * c.width)).collect();
    g.output(MODULATION, concat(3, &parts), g.precision.compute());
}

/// Traces one step of `rows` tokens, guided by `batch` branches.
pub fn flow_head(g: &GraphBuilder<'_>, c: &FlowHeadConfig) {
    let [batch, rows] = ["batch", "rows"].map(Dim::symbol);
    let before = g.input(X, DType::F32, &[rows.clone(), c.target_channels.into()]);
    let all = [1.into(), batch.clone(), rows, ((3 * c.depth + 2) * c.width).into()];
    let all = g.input(MODULATION, g.precision.compute(), &all).rearrange("1 b r c -> b r c", &[]);
    let part = |i: usize| all.slice(2, (i * c.width) as i64..((i + 1) * c.width) as i64);
    let weights = g.input(WEIGHTS, DType::F32, &[batch, 1.into(), 1.into()]);
    let s = g.root().at("net");

    let x = before.to_compute().rearrange("r c -> 1 r c", &[]);
    let x = (0..c.depth).fold(s.linear("input_proj", x, c.width), |x, i| {
        let s = s.at("res_blocks").at(i);
        let [shift, scale, gate] = [0, 1, 2].map(|of| part(3 * i + of));
        let u = modulate(s.layer_norm("in_ln", x, EPS), shift, scale);
        let s = s.at("mlp");
        x + gate * s.linear("2", s.linear("0", u, c.width).silu(), c.width)
    });
    let [shift, scale] = [0, 1].map(|of| part(3 * c.depth + of));
    let x = modulate(layer_norm(x, EPS).to_compute(), shift, scale);
    let velocity = s.at("final_layer").linear("linear", x, c.target_channels).to_f32();
    g.output(VELOCITY, velocity, DType::F32);
    let change = (velocity * weights).sum(0).rearrange("1 r c -> r c", &[]);
    g.output(NEXT, before + change, DType::F32);
}

fn modulate<'g>(x: Value<'g>, shift: Value<'g>, scale: Value<'g>) -> Value<'g> {
    x * scale.shift(1.0) + shift
}
