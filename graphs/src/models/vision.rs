//! The Qwen2.5-VL vision tower: patches to features in the language model's space (spec D.6).
//!
//! Reference: transformers 4.57.3, `Qwen2_5_VisionTransformerPretrainedModel`. Patches stay in the
//! order of the processor; the reference's reordering into windows is a gather around attention
//! here, so nothing has to be undone behind the merger.

use crate::config::VisionConfig;
use crate::graph::Layout;
use crate::nn::{attention, rotate_half};
use crate::submodule::vision::{
    FEATURES, PATCHES, ROPE_COS, ROPE_SIN, WINDOW_BIAS, WINDOW_GATHER, WINDOW_SCATTER,
};
use crate::{DType, Dim, GraphBuilder, Scope, Value};

/// Epsilon of every norm; the config has no key for it.
const EPS: f32 = 1e-6;

/// Where the patches of each window lie.
struct Windows<'g> {
    /// i64 `[windows, window_patches]`: patch of each place, any patch where the place is empty.
    gather: Value<'g>,
    /// i64 `[patches]`: place of each patch.
    scatter: Value<'g>,
    /// `[windows, 1, 1, window_patches]`: 0, or a large negative number on empty places.
    bias: Value<'g>,
}

/// Traces the tower over `frames` temporal slices of `frame_tokens` merged tokens each.
pub fn vision(g: &GraphBuilder<'_>, c: &VisionConfig) {
    let [frames, tokens, windows] = ["frames", "frame_tokens", "windows"].map(Dim::symbol);
    let patches = &tokens * &c.spatial_merge_size.pow(2).into();
    let place = Dim::from(c.window_patches());
    let all = &frames * &patches;
    let half = Dim::from(c.head_dim() / 2);
    let pixels = g.input(PATCHES, DType::F32, &[frames, patches, c.patch_dim().into()]);
    let rope = [ROPE_COS, ROPE_SIN]
        .map(|name| g.input(name, DType::F32, &[all.clone(), half.clone()]).to_compute());
    let gather = g.input(WINDOW_GATHER, DType::I64, &[windows.clone(), place.clone()]);
    let scatter = g.input(WINDOW_SCATTER, DType::I64, &[all]);
    let bias = g.input(WINDOW_BIAS, DType::F32, &[windows, 1.into(), 1.into(), place]);
    let windows = Windows { gather, scatter, bias: bias.to_compute() };

    let s = g.root();
    let x = patch_embed(&s.at("patch_embed"), c, pixels.to_compute());
    let x = (0..c.depth).fold(x, |x, i| {
        let s = s.at("blocks").at(i);
        let windows = (!c.fullatt_block_indexes.contains(&i)).then_some(&windows);
        let y = s.rms_norm("norm1", x, EPS, Layout::AsIs);
        let x = x + self_attention(&s.at("attn"), c, y, (rope[0], rope[1]), windows);
        let y = s.rms_norm("norm2", x, EPS, Layout::AsIs);
        let x = x + feed_forward(&s.at("mlp"), c, y);
        s.tap("after_mlp", x);
        x
    });
    let x = x.rearrange("t n d -> (t n) d", &[]);
    g.output(FEATURES, merger(&s.at("merger"), c, x), DType::F32);
}

/// The patch convolution as a linear layer: a patch is one kernel.
fn patch_embed<'g>(s: &Scope<'g>, c: &VisionConfig, x: Value<'g>) -> Value<'g> {
    let s = s.at("proj");
    let kernel =
        [c.hidden_size, c.in_channels(), c.temporal_patch_size, c.patch_size, c.patch_size];
    let view = [c.hidden_size, c.patch_dim()];
    x.matmul(s.tensor_as("weight", &kernel, &view, Layout::AsIs).transpose_last())
}

/// Attention within each window, or within each temporal slice where `windows` is `None`.
fn self_attention<'g>(
    s: &Scope<'g>,
    c: &VisionConfig,
    x: Value<'g>,
    (cos, sin): (Value<'g>, Value<'g>),
    windows: Option<&Windows<'g>>,
) -> Value<'g> {
    let heads = c.num_heads;
    let qkv = s.linear("qkv", x, 3 * c.hidden_size);
    let part = |i: usize| {
        let range = (i * c.hidden_size) as i64..((i + 1) * c.hidden_size) as i64;
        qkv.slice(2, range).rearrange("t n (h d) -> h (t n) d", &[("h", heads.into())])
    };
    let (q, k, v) = (rotate_half(part(0), cos, sin), rotate_half(part(1), cos, sin), part(2));
    let scale = Some((c.head_dim() as f32).sqrt().recip());
    let size = x.shape();
    let y = match (windows, size.first()) {
        (Some(windows), _) => {
            let place = |x: Value<'g>| {
                x.rearrange("h p d -> p h d", &[])
                    .gather(windows.gather)
                    .rearrange("w n h d -> w h n d", &[])
            };
            let y = attention(place(q), place(k), place(v), scale, Some(windows.bias));
            y.rearrange("w h n d -> (w n) (h d)", &[]).gather(windows.scatter)
        }
        (None, Some(frames)) => {
            let slice =
                |x: Value<'g>| x.rearrange("h (t n) d -> t h n d", &[("t", frames.clone())]);
            attention(slice(q), slice(k), slice(v), scale, None)
                .rearrange("t h n d -> (t n) (h d)", &[])
        }
        (None, None) => return x,
    };
    let Some(frames) = size.first() else { return x };
    let y = y.rearrange("(t n) d -> t n d", &[("t", frames.clone())]);
    s.linear("proj", y, c.hidden_size)
}

/// SwiGLU with biases.
fn feed_forward<'g>(s: &Scope<'g>, c: &VisionConfig, x: Value<'g>) -> Value<'g> {
    let gate = s.linear("gate_proj", x, c.intermediate_size).silu();
    s.linear("down_proj", gate * s.linear("up_proj", x, c.intermediate_size), c.hidden_size)
}

/// Joins the patches of each 2×2 square, which follow each other, into one feature.
fn merger<'g>(s: &Scope<'g>, c: &VisionConfig, x: Value<'g>) -> Value<'g> {
    let merged = c.spatial_merge_size * c.spatial_merge_size;
    let x = s.rms_norm("ln_q", x, EPS, Layout::AsIs);
    let x = x.rearrange("(p four) d -> p (four d)", &[("four", merged.into())]);
    let s = s.at("mlp");
    s.linear("2", s.linear("0", x, merged * c.hidden_size).gelu_erf(), c.out_hidden_size)
}
