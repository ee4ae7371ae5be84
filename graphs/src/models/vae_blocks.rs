//! Blocks of the VAE (spec F.1), and the causal state that runs through them (F.3).

use super::vae::Position;
use crate::graph::Layout;
use crate::nn::attention;
use crate::ops::{Conv3d, concat, zeros};
use crate::submodule::vae::{CACHE, NEXT};
use crate::{GraphBuilder, Scope, Value};

/// The causal state of one chunk: where caches come from and where they go.
pub(super) struct Chunk<'g> {
    g: &'g GraphBuilder<'g>,
    position: Position,
}

impl<'g> Chunk<'g> {
    pub(super) fn new(g: &'g GraphBuilder<'g>, position: Position) -> Self {
        Self { g, position }
    }

    /// The `frames` frames before `x` at `path`: zeros at the start of a video.
    fn cache(&self, path: &str, x: Value<'g>, frames: usize) -> Value<'g> {
        let Some(mut port) = x.port() else { return x };
        port.shape[1] = frames.into();
        match self.position {
            Position::First => zeros(self.g, port.dtype, &port.shape),
            Position::Next => self.g.input(&format!("{CACHE}{path}"), port.dtype, &port.shape),
        }
    }

    fn keep(&self, path: &str, next: Value<'g>) {
        self.g.output(&format!("{NEXT}{path}"), next, next.dtype());
    }

    /// Causal 3×3×3 convolution that keeps height and width.
    pub(super) fn conv(&self, s: &Scope<'g>, name: &str, x: Value<'g>, out: usize) -> Value<'g> {
        self.causal(s, name, x, out, Conv3d::same([3, 3, 3]))
    }

    fn causal(
        &self,
        s: &Scope<'g>,
        name: &str,
        x: Value<'g>,
        out: usize,
        geometry: Conv3d,
    ) -> Value<'g> {
        let path = format!("{}.{name}", s.path());
        let cache = self.cache(&path, x, geometry.kernel[0] - 1);
        let (y, next) = s.causal_conv3d(name, x, out, geometry, cache);
        self.keep(&path, next);
        y
    }
}

/// Channels scaled to length `sqrt(channels)`, times `gamma`; f32 inside. The checkpoint's `gamma`
/// has `rank` axes.
fn channel_norm<'g>(s: &Scope<'g>, name: &str, x: Value<'g>, rank: usize) -> Value<'g> {
    let n = x.width();
    let shape: Vec<_> = std::iter::once(n).chain(std::iter::repeat_n(1, rank - 1)).collect();
    let gamma = s.at(name).f32().tensor_as("gamma", &shape, &[n], Layout::AsIs);
    let f = x.to_f32();
    let length = (f * f).sum(4).sqrt().at_least(1e-12);
    (f.div(length).scale((n as f32).sqrt()) * gamma).to_compute()
}

/// Normalisation and activation before the last convolution.
pub(super) fn norm_out<'g>(s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
    channel_norm(s, "norm_out", x, 4).silu()
}

/// Norm, SiLU, convolution, twice; plus the input, projected where the width changes.
pub(super) fn residual_block<'g>(
    chunk: &Chunk<'g>,
    s: &Scope<'g>,
    x: Value<'g>,
    out: usize,
) -> Value<'g> {
    let y = chunk.conv(s, "conv1", channel_norm(s, "norm1", x, 4).silu(), out);
    let y = chunk.conv(s, "conv2", channel_norm(s, "norm2", y, 4).silu(), out);
    let same = x.width() == out;
    y + if same { x } else { s.conv3d("conv_shortcut", x, out, Conv3d::same([1, 1, 1])) }
}

/// Two residual blocks around attention within each frame.
pub(super) fn mid_block<'g>(chunk: &Chunk<'g>, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
    let width = x.width();
    let x = residual_block(chunk, &s.at("resnets").at(0), x, width);
    let x = frame_attention(&s.at("attentions").at(0), x, width);
    residual_block(chunk, &s.at("resnets").at(1), x, width)
}

/// Single-head attention over the pixels of each frame.
fn frame_attention<'g>(s: &Scope<'g>, x: Value<'g>, width: usize) -> Value<'g> {
    let y = channel_norm(s, "norm", x, 3);
    let y = s.conv2d("to_qkv", y, 3 * width, Conv3d::same([1, 1, 1]));
    let y = y.rearrange("b t h w c -> (b t) (h w) c", &[]);
    let part = |i: usize| y.slice(2, (i * width) as i64..((i + 1) * width) as i64);
    let scale = (width as f32).sqrt().recip();
    let y = attention(part(0), part(1), part(2), Some(scale), None);
    let size = x.shape();
    let (Some(h), Some(w)) = (size.get(2), size.get(3)) else { return x };
    let sizes = [("b", 1.into()), ("h", h.clone()), ("w", w.clone())];
    let y = y.rearrange("(b t) (h w) c -> b t h w c", &sizes);
    x + s.conv2d("proj", y, width, Conv3d::same([1, 1, 1]))
}

/// Halves height and width, and the frames too where `halve_frames`.
///
/// The first chunk passes the temporal convolution by; it is only remembered.
pub(super) fn resample_down<'g>(
    chunk: &Chunk<'g>,
    s: &Scope<'g>,
    x: Value<'g>,
    halve_frames: bool,
) -> Value<'g> {
    let width = x.width();
    let halve =
        Conv3d { kernel: [1, 3, 3], stride: [1, 2, 2], pad_before: [0; 2], pad_after: [1; 2] };
    let x = s.conv2d("resample.1", x, width, halve);
    if !halve_frames {
        return x;
    }
    let path = format!("{}.time_conv", s.path());
    let y = match chunk.position {
        Position::First => x,
        Position::Next => {
            let seen = concat(1, &[chunk.cache(&path, x, 1), x]);
            let step = Conv3d { stride: [2, 1, 1], ..Conv3d::same([3, 1, 1]) };
            s.conv3d("time_conv", seen, width, step)
        }
    };
    chunk.keep(&path, x.slice(1, -1..i64::MAX));
    y
}

/// Doubles height and width, halving the channels, and doubles the frames where `double_frames`.
///
/// The first chunk passes the temporal convolution by, and is not its history either: the second
/// chunk starts from zeros.
pub(super) fn resample_up<'g>(
    chunk: &Chunk<'g>,
    s: &Scope<'g>,
    x: Value<'g>,
    double_frames: bool,
) -> Value<'g> {
    let width = x.width();
    let x = match (double_frames, chunk.position) {
        (false, _) => x,
        (true, Position::First) => {
            let path = format!("{}.time_conv", s.path());
            chunk.keep(&path, chunk.cache(&path, x, 2));
            x
        }
        (true, Position::Next) => chunk
            .causal(s, "time_conv", x, 2 * width, Conv3d::same([3, 1, 1]))
            .rearrange("b t h w (two c) -> b (t two) h w c", &[("two", 2.into())]),
    };
    s.conv2d("resample.1", x.upsample_nearest_2x(), width / 2, Conv3d::same([1, 3, 3]))
}
