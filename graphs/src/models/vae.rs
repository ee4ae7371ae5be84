//! The Wan 2.1 VAE in causal chunks (spec F).
//!
//! Reference: diffusers 0.35.2, `models/autoencoders/autoencoder_kl_wan.py`. The first chunk is
//! one frame; later ones are any number of latent frames. What a chunk must remember of the past
//! is an ordinary input and output of the graph, named after the convolution that needs it.

use super::vae_blocks::{Chunk, mid_block, norm_out, resample_down, resample_up, residual_block};
use crate::config::VaeConfig;
use crate::ops::Conv3d;
use crate::submodule::vae::{FRAMES, LATENTS};
use crate::{DType, Dim, GraphBuilder, Value};

/// Which chunk of a video a graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The first frame: there is no past.
    First,
    /// A later chunk: the past comes in as caches.
    Next,
}

impl Position {
    fn latent_frames(self) -> Dim {
        match self {
            Self::First => 1.into(),
            Self::Next => Dim::symbol("latent_frames"),
        }
    }
}

/// Traces the encoder: frames in −1..1 to normalised latents (posterior mode).
pub fn encoder(g: &GraphBuilder<'_>, c: &VaeConfig, position: Position) {
    let t = position.latent_frames();
    let frames = match position {
        Position::First => t.clone(),
        Position::Next => &t * &c.temporal_factor().into(),
    };
    let [height, width] = latent_size().map(|n| &n * &c.spatial_factor().into());
    let x = g.input(FRAMES, DType::F32, &[1.into(), 3.into(), frames, height, width]);
    let chunk = Chunk::new(g, position);
    let s = g.root().at("encoder");
    let dims = c.dims();

    let mut x = chunk.conv(&s, "conv_in", channels_last(x.to_compute()), dims[0]);
    let mut blocks = (0..).map(|i| s.at("down_blocks").at(i));
    for (level, &dim) in dims.iter().enumerate() {
        for s in blocks.by_ref().take(c.num_res_blocks) {
            x = residual_block(&chunk, &s, x, dim);
        }
        if let (Some(&halve_frames), Some(s)) = (c.temperal_downsample.get(level), blocks.next()) {
            x = resample_down(&chunk, &s, x, halve_frames);
        }
    }
    let x = mid_block(&chunk, &s.at("mid_block"), x);
    let x = chunk.conv(&s, "conv_out", norm_out(&s, x), 2 * c.z_dim);
    let moments = g.root().conv3d("quant_conv", x, 2 * c.z_dim, Conv3d::same([1, 1, 1]));
    let mean = moments.slice(4, 0..c.z_dim as i64).to_f32();
    let inverse: Vec<_> = c.latents_std.iter().map(|s| 1.0 / s).collect();
    let z = (mean - channels(g, &c.latents_mean)) * channels(g, &inverse);
    g.output(LATENTS, channels_second(z), DType::F32);
}

/// Traces the decoder: normalised latents to frames in −1..1.
pub fn decoder(g: &GraphBuilder<'_>, c: &VaeConfig, position: Position) {
    let [height, width] = latent_size();
    let shape = [1.into(), c.z_dim.into(), position.latent_frames(), height, width];
    let z = g.input(LATENTS, DType::F32, &shape);
    let x = channels_last(z) * channels(g, &c.latents_std) + channels(g, &c.latents_mean);
    let x = g.root().conv3d("post_quant_conv", x.to_compute(), c.z_dim, Conv3d::same([1, 1, 1]));
    let chunk = Chunk::new(g, position);
    let s = g.root().at("decoder");
    let dims = c.dims();

    let x = chunk.conv(&s, "conv_in", x, dims[dims.len() - 1]);
    let mut x = mid_block(&chunk, &s.at("mid_block"), x);
    for (i, level) in (0..dims.len()).rev().enumerate() {
        let s = s.at("up_blocks").at(i);
        for j in 0..=c.num_res_blocks {
            x = residual_block(&chunk, &s.at("resnets").at(j), x, dims[level]);
        }
        if let Some(double) = level.checked_sub(1).map(|below| c.temperal_downsample[below]) {
            x = resample_up(&chunk, &s.at("upsamplers").at(0), x, double);
        }
    }
    let x = chunk.conv(&s, "conv_out", norm_out(&s, x), 3);
    let frames = channels_second(x).to_f32().at_least(-1.0).at_most(1.0);
    g.output(FRAMES, frames, DType::F32);
}

fn latent_size() -> [Dim; 2] {
    ["latent_height", "latent_width"].map(Dim::symbol)
}

fn channels_last(x: Value<'_>) -> Value<'_> {
    x.rearrange("b c t h w -> b t h w c", &[])
}

fn channels_second(x: Value<'_>) -> Value<'_> {
    x.rearrange("b t h w c -> b c t h w", &[])
}

/// One f32 number per channel, `[n]`.
fn channels<'g>(g: &'g GraphBuilder<'g>, values: &[f32]) -> Value<'g> {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    g.constant(DType::F32, &[values.len()], bytes)
}
