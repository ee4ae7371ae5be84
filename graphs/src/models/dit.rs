//! One diffusion expert: packed latent tokens to velocities (spec B).
//!
//! Reference: diffusers 0.35.2, `models/transformers/transformer_wan.py`. Cross-attention keys
//! and values come in as inputs, because they depend on the context and not on the step; see
//! `dit_context`. Rotary angles come in too, so the same graph serves any mix of segments.

use std::array;

use crate::config::TransformerConfig;
use crate::graph::Layout;
use crate::nn::{DitAttention, Rope, layer_norm};
use crate::submodule::transformer::{KEYS, ROPE_COS, ROPE_SIN, T_EMBED, TOKENS, VALUES, VELOCITY};
use crate::{DType, Dim, GraphBuilder, Scope, Value};

/// Shift, scale and gate of one half of a block: f32 `[1, 1, dim]` each.
struct Modulation<'g> {
    shift: Value<'g>,
    scale: Value<'g>,
    gate: Value<'g>,
}

impl<'g> Modulation<'g> {
    /// Normalises `x` and applies shift and scale.
    fn modulate(&self, x: Value<'g>, eps: f32) -> Value<'g> {
        (layer_norm(x, eps) * self.scale.shift(1.0) + self.shift).to_compute()
    }

    /// `x + gate · y`, added in f32.
    fn add_gated(&self, x: Value<'g>, y: Value<'g>) -> Value<'g> {
        (x.to_f32() + self.gate * y.to_f32()).to_compute()
    }
}

/// What every block is given besides its tokens.
struct Conditioning<'g> {
    /// Six rows, f32 `[1, 1, dim]` each.
    timestep_proj: [Value<'g>; 6],
    rope: Rope<'g>,
    /// `[layers, 1, heads, context, head_dim]` each.
    keys_values: [Value<'g>; 2],
}

/// Traces the expert over `tokens` tokens and `context` context rows.
pub fn transformer(g: &GraphBuilder<'_>, c: &TransformerConfig) {
    let (n, l) = (Dim::symbol("tokens"), Dim::symbol("context"));
    let one = Dim::from(1);
    let half = Dim::from(c.attention_head_dim / 2);
    let compute = g.precision.compute();
    let tokens = g.input(TOKENS, DType::F32, &[one.clone(), n.clone(), c.token_dim().into()]);
    let t_embed = g.input(T_EMBED, DType::F32, &[one, c.freq_dim.into()]);
    let rope =
        [ROPE_COS, ROPE_SIN].map(|name| g.input(name, DType::F32, &[n.clone(), half.clone()]));
    let cached = keys_values_shape(c, &l);
    let keys_values = [KEYS, VALUES].map(|name| g.input(name, compute, &cached));

    let s = g.root();
    let (temb, timestep_proj) = time_conditioning(&s.at("condition_embedder").f32(), c, t_embed);
    let conditioning = Conditioning {
        timestep_proj,
        rope: Rope { f32: rope, compute: rope.map(|angles| angles.to_compute()) },
        keys_values,
    };
    let x = patch_embedding(&s, c, tokens.to_compute());
    let x = (0..c.num_layers).fold(x, |x, i| block(&s.at("blocks").at(i), c, x, i, &conditioning));
    g.output(VELOCITY, head(&s, c, x, temb), DType::F32);
}

/// Shape of the cached cross-attention keys, and of the values.
fn keys_values_shape(c: &TransformerConfig, context: &Dim) -> Vec<Dim> {
    let (layers, heads) = (c.num_layers.into(), c.num_attention_heads.into());
    vec![layers, 1.into(), heads, context.clone(), c.attention_head_dim.into()]
}

/// The patch convolution as a linear layer on packed tokens, whose inner order is (ph, pw, c).
fn patch_embedding<'g>(s: &Scope<'g>, c: &TransformerConfig, tokens: Value<'g>) -> Value<'g> {
    let s = s.at("patch_embedding");
    let [pt, ph, pw] = c.patch_size;
    let (shape, view) = ([c.dim(), c.in_channels, pt, ph, pw], [c.dim(), c.token_dim()]);
    let weight = s.tensor_as("weight", &shape, &view, Layout::ChannelsLast);
    tokens.matmul(weight.transpose_last()) + s.tensor("bias", &[c.dim()])
}

/// `temb` `[1, dim]` and the six modulation rows `[1, 1, dim]`, in f32.
fn time_conditioning<'g>(
    s: &Scope<'g>,
    c: &TransformerConfig,
    t_embed: Value<'g>,
) -> (Value<'g>, [Value<'g>; 6]) {
    let embedder = s.at("time_embedder");
    let temb = embedder.linear("linear_1", t_embed, c.dim()).silu();
    let temb = embedder.linear("linear_2", temb, c.dim());
    let proj = s.linear("time_proj", temb.silu(), 6 * c.dim());
    let proj = proj.rearrange("b (six d) -> b six d", &[("six", 6.into())]);
    (temb, array::from_fn(|i| row(proj, i)))
}

fn block<'g>(
    s: &Scope<'g>,
    c: &TransformerConfig,
    x: Value<'g>,
    layer: usize,
    given: &Conditioning<'g>,
) -> Value<'g> {
    let [msa, mlp] = modulation(s, c, given.timestep_proj);

    let y = self_attention(&s.at("attn1"), c, msa.modulate(x, c.eps), given.rope);
    let x = msa.add_gated(x, y);
    s.tap("after_attn1", x);

    let y = cross_attention(&s.at("attn2"), c, s.layer_norm("norm2", x, c.eps), layer, given);
    let x = x + y;
    s.tap("after_attn2", x);

    let y = feed_forward(&s.at("ffn"), c, mlp.modulate(x, c.eps));
    let x = mlp.add_gated(x, y);
    s.tap("after_ffn", x);
    x
}

/// Rows of `scale_shift_table + timestep_proj`: attention's three, then the feed-forward's.
///
/// Added row by row: TensorRT folds a sum of all six into the normalisation that needs two of
/// them first, and that kernel then takes five times as long.
fn modulation<'g>(
    s: &Scope<'g>,
    c: &TransformerConfig,
    timestep_proj: [Value<'g>; 6],
) -> [Modulation<'g>; 2] {
    let table = s.f32().tensor("scale_shift_table", &[1, 6, c.dim()]);
    let rows: [_; 6] = array::from_fn(|i| row(table, i) + timestep_proj[i]);
    [0, 3].map(|i| Modulation { shift: rows[i], scale: rows[i + 1], gate: rows[i + 2] })
}

/// Row `i` of `[1, n, dim]`, `[1, 1, dim]`.
fn row(x: Value<'_>, i: usize) -> Value<'_> {
    x.slice(1, i as i64..i as i64 + 1)
}

/// Full attention over all tokens, with rotary positions.
fn self_attention<'g>(
    s: &Scope<'g>,
    c: &TransformerConfig,
    x: Value<'g>,
    rope: Rope<'g>,
) -> Value<'g> {
    s.linear("to_out.0", attention(c).self_attention(s, x, rope), c.dim())
}

/// Attention over the cached keys and values of this layer; no rotary positions.
fn cross_attention<'g>(
    s: &Scope<'g>,
    c: &TransformerConfig,
    x: Value<'g>,
    layer: usize,
    given: &Conditioning<'g>,
) -> Value<'g> {
    s.linear("to_out.0", attention(c).cross_attention(s, x, given.keys_values, layer), c.dim())
}

fn feed_forward<'g>(s: &Scope<'g>, c: &TransformerConfig, x: Value<'g>) -> Value<'g> {
    s.linear("net.2", s.linear("net.0.proj", x, c.ffn_dim).gelu_tanh(), c.dim())
}

/// Modulated normalisation and the projection to packed velocities.
fn head<'g>(s: &Scope<'g>, c: &TransformerConfig, x: Value<'g>, temb: Value<'g>) -> Value<'g> {
    let temb = temb.rearrange("b d -> b 1 d", &[]);
    let table = s.f32().tensor("scale_shift_table", &[1, 2, c.dim()]);
    let (shift, scale) = (row(table, 0) + temb, row(table, 1) + temb);
    let y = (layer_norm(x, c.eps) * scale.shift(1.0) + shift).to_compute();
    s.linear("proj_out", y, c.token_dim())
}

/// Sizes of both attentions of a block.
pub(super) fn attention(c: &TransformerConfig) -> DitAttention {
    DitAttention { heads: c.num_attention_heads, head_dim: c.attention_head_dim, eps: c.eps }
}
