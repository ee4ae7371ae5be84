//! UMT5 encoder: token embeddings to hidden states (spec E.1).
//!
//! Reference: transformers 4.57.3, `models/umt5/modeling_umt5.py`. Every layer has its own
//! relative position bias, attention is not scaled, and nothing has a linear bias. What layers add
//! to stays f32, as it does in the reference, which keeps `wo` in f32: of 24 layers in bf16 on an
//! H100 a bf16 sum is twice as far from f32 as PyTorch.

use crate::config::TextEncoderConfig;
use crate::graph::Layout;
use crate::nn::attention;
use crate::submodule::text_encoder::{BUCKETS, EMBEDS, HIDDEN};
use crate::{DType, Dim, GraphBuilder, Scope, Value};

/// Traces the encoder over an unpadded prompt of `text_tokens` tokens.
pub fn text_encoder(g: &GraphBuilder<'_>, c: &TextEncoderConfig) {
    let tokens = Dim::symbol("text_tokens");
    let embeds = g.input(EMBEDS, DType::F32, &[1.into(), tokens.clone(), c.d_model.into()]);
    let buckets = g.input(BUCKETS, DType::I64, &[tokens.clone(), tokens]);
    let s = g.root().at("encoder");
    let x = (0..c.num_layers).fold(embeds, |x, i| {
        let s = s.at("block").at(i).at("layer");
        let x = x + self_attention(&s.at(0), c, x, buckets).to_f32();
        s.tap("after_attention", x);
        x + feed_forward(&s.at(1), c, x).to_f32()
    });
    let x = s.rms_norm("final_layer_norm", x, c.layer_norm_epsilon, Layout::AsIs);
    g.output(HIDDEN, x, DType::F32);
}

/// `[1, n, d_model]`; `buckets` `[n, n]` selects rows of the bias table.
fn self_attention<'g>(
    s: &Scope<'g>,
    c: &TextEncoderConfig,
    x: Value<'g>,
    buckets: Value<'g>,
) -> Value<'g> {
    let x = s.rms_norm("layer_norm", x, c.layer_norm_epsilon, Layout::AsIs);
    let s = s.at("SelfAttention");
    let heads = |name| {
        let y = s.linear_no_bias(name, x, c.inner_dim());
        y.rearrange("b n (h d) -> b h n d", &[("h", c.num_heads.into())])
    };
    let (q, k, v) = (heads("q"), heads("k"), heads("v"));
    let table = s.at("relative_attention_bias");
    let bias = table.tensor("weight", &[c.relative_attention_num_buckets, c.num_heads]);
    let bias = bias.gather(buckets).rearrange("q k h -> h q k", &[]);
    let y = attention(q, k, v, None, Some(bias)).rearrange("b h n d -> b n (h d)", &[]);
    s.linear_no_bias("o", y, c.d_model)
}

/// `wo(gelu(wi_0 x) · wi_1 x)`.
fn feed_forward<'g>(s: &Scope<'g>, c: &TextEncoderConfig, x: Value<'g>) -> Value<'g> {
    let x = s.rms_norm("layer_norm", x, c.layer_norm_epsilon, Layout::AsIs);
    let s = s.at("DenseReluDense");
    let gate = s.linear_no_bias("wi_0", x, c.d_ff).gelu_tanh();
    s.linear_no_bias("wo", gate * s.linear_no_bias("wi_1", x, c.d_ff), c.d_model)
}
