//! The planner's language model: Qwen2.5-VL up to its last layer but one (spec D.6).
//!
//! Reference: transformers 4.57.3, `Qwen2_5_VLTextModel`; the output is `hidden_states[-2]`, the
//! residual stream before the last layer. One graph serves the prefix and the target: what came
//! before is past keys and values, and who sees whom is an additive bias made on the host.

use crate::config::PlannerConfig;
use crate::graph::Layout;
use crate::nn::{attention, rotate_half};
use crate::submodule::planner_lm::{
    BIAS, EMBEDS, HIDDEN, KEYS, PAST_KEYS, PAST_VALUES, ROPE_COS, ROPE_SIN, VALUES,
};
use crate::{DType, Dim, GraphBuilder, Scope, Value, concat};

/// What every layer is given besides its tokens.
struct Given<'g> {
    /// `[batch, 1, 1, tokens, head_dim / 2]` each.
    rope: (Value<'g>, Value<'g>),
    /// `[batch, 1, queries of a group · tokens, past + tokens]`.
    bias: Value<'g>,
    /// `[layers, batch, kv_heads, past, head_dim]` each.
    past: (Value<'g>, Value<'g>),
}

/// Traces the layers over `tokens` tokens after `past` others.
pub fn planner_lm(g: &GraphBuilder<'_>, c: &PlannerConfig) {
    let [batch, tokens, past] = ["batch", "tokens", "past"].map(Dim::symbol);
    let (kv, d) = (Dim::from(c.num_key_value_heads), Dim::from(c.head_dim()));
    let (one, compute) = (Dim::from(1), g.precision.compute());
    let size = [batch.clone(), tokens.clone(), c.hidden_size.into()];
    let embeds = g.input(EMBEDS, DType::F32, &size);
    let half = [batch.clone(), tokens.clone(), (c.head_dim() / 2).into()];
    let rope = [ROPE_COS, ROPE_SIN].map(|name| {
        g.input(name, DType::F32, &half).to_compute().rearrange("b n d -> b 1 1 n d", &[])
    });
    let cached = [c.layers().into(), batch.clone(), kv, past.clone(), d];
    let past_keys = g.input(PAST_KEYS, compute, &cached);
    let past_values = g.input(PAST_VALUES, compute, &cached);
    let bias = g.input(BIAS, DType::F32, &[batch, one, tokens.clone(), &past + &tokens]);
    let given = Given {
        rope: (rope[0], rope[1]),
        bias: concat(2, &vec![bias.to_compute(); queries_of_a_group(c)]),
        past: (past_keys, past_values),
    };

    let (mut x, mut keys, mut values) = (embeds.to_compute(), vec![], vec![]);
    for i in 0..c.layers() {
        let s = g.root().at("model").at("layers").at(i);
        let y = s.rms_norm("input_layernorm", x, c.rms_norm_eps, Layout::AsIs);
        let (y, k, v) = self_attention(&s.at("self_attn"), c, y, i, &given);
        x = x + y;
        let y = s.rms_norm("post_attention_layernorm", x, c.rms_norm_eps, Layout::AsIs);
        x = x + feed_forward(&s.at("mlp"), c, y);
        s.tap("after_mlp", x);
        keys.push(k.rearrange("b g n d -> 1 b g n d", &[]));
        values.push(v.rearrange("b g n d -> 1 b g n d", &[]));
    }
    g.output(HIDDEN, x, DType::F32);
    g.output(KEYS, concat(0, &keys), compute);
    g.output(VALUES, concat(0, &values), compute);
}

/// Grouped-query attention; also gives this call's own keys and values `[b, kv_heads, n, d]`.
fn self_attention<'g>(
    s: &Scope<'g>,
    c: &PlannerConfig,
    x: Value<'g>,
    layer: usize,
    given: &Given<'g>,
) -> (Value<'g>, Value<'g>, Value<'g>) {
    let (groups, d) = (c.num_key_value_heads, c.head_dim());
    let queries = queries_of_a_group(c);
    let (cos, sin) = given.rope;
    let grouped = |name, heads: usize| {
        let y = s.linear(name, x, heads * d);
        y.rearrange("b n (g r d) -> b g r n d", &[("g", groups.into()), ("d", d.into())])
    };
    let q = rotate_half(grouped("q_proj", c.num_attention_heads), cos, sin);
    let k = rotate_half(grouped("k_proj", groups), cos, sin);
    let v = grouped("v_proj", groups);
    // The queries of a group are rows of one head: TensorRT fuses attention of rank 4 only.
    let rows = |x: Value<'g>| x.rearrange("b g r n d -> b g (r n) d", &[]);
    let (q, k, v) = (rows(q), rows(k), rows(v));
    let seen = |past: Value<'g>, x: Value<'g>| concat(2, &[past.index(layer), x]);
    let (keys, values) = (seen(given.past.0, k), seen(given.past.1, v));
    let scale = (d as f32).sqrt().recip();
    let y = attention(q, keys, values, Some(scale), Some(given.bias));
    let y = y.rearrange("b g (r n) d -> b n (g r d)", &[("r", queries.into())]);
    (s.linear_no_bias("o_proj", y, c.hidden_size), k, v)
}

/// Heads of queries that one head of keys and values serves.
fn queries_of_a_group(c: &PlannerConfig) -> usize {
    c.num_attention_heads / c.num_key_value_heads
}

/// SwiGLU without biases.
fn feed_forward<'g>(s: &Scope<'g>, c: &PlannerConfig, x: Value<'g>) -> Value<'g> {
    let gate = s.linear_no_bias("gate_proj", x, c.intermediate_size).silu();
    let up = s.linear_no_bias("up_proj", x, c.intermediate_size);
    s.linear_no_bias("down_proj", gate * up, c.hidden_size)
}
