//! Sizes of the target before any pixel is touched (spec C.2, C.3, K.5, K.11).

use crate::latents::Grid;
use crate::media::{self, Sampling, VideoInfo, VitError, vae_size};

use super::stream::{Visual, VisualKind};

/// Short sides below this are scaled up (C.1, full pipeline).
const MIN_SIZE: u32 = 240;
/// Pixels along a side of a merged ViT token, and of a latent token.
const VIT_STRIDE: usize = 28;
const LATENT_STRIDE: u32 = 16;
/// Frames of a ViT token.
const TEMPORAL_PATCH: usize = 2;

/// What decides the target's sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetRequest<'a> {
    /// Frames asked for; 1 for an image.
    pub num_frames: usize,
    /// Height asked for; 0: follow the video.
    pub height: u32,
    /// Width asked for; 0: follow the video.
    pub width: u32,
    /// Frames per second of the result.
    pub fps: u32,
    /// Longest side of what enters the VAE.
    pub max_image_size: u32,
    /// The first source video.
    pub video: Option<&'a VideoInfo>,
}

/// The target's sizes. The official code makes a placeholder clip, encodes it and throws the
/// result away; its shape is all that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetGeometry {
    /// The target as the planner sees it.
    pub visual: Visual,
    /// Latent tokens of the placeholder: its noise is drawn, three times, before the planner's.
    pub placeholder: Grid,
    /// Frames of the result, 4n + 1.
    pub frames: usize,
    /// Width of the result, a multiple of 16.
    pub width: u32,
    /// Height of the result, a multiple of 16.
    pub height: u32,
}

impl TargetGeometry {
    /// The sizes of `request`, whose `num_frames` and `fps` are at least 1.
    ///
    /// # Errors
    /// No height or width where no video gives it; a shape that the vision tower does not take.
    pub fn new(request: &TargetRequest<'_>) -> Result<Self, GeometryError> {
        let still = request.num_frames <= 1;
        let video = request.video.filter(|_| !still);
        let side = |field, asked: u32, of_video: fn(&VideoInfo) -> u32| match video {
            Some(video) => Ok(of_video(video)),
            None if asked == 0 => Err(GeometryError::NoSize { field }),
            None => Ok(asked),
        };
        let height = side("height", request.height, |video| video.height)?;
        let width = side("width", request.width, |video| video.width)?;
        let (total, source_fps) = match video {
            Some(video) => (video.frames, video.fps),
            None => (request.num_frames, f64::from(request.fps)),
        };
        let sampled = |sampling: Sampling| sampling.frame_indices(total, source_fps).len();
        let (vae_frames, vit_frames) = match still {
            true => (1, 1),
            false => (
                sampled(Sampling::vae(request.fps, request.num_frames, false)),
                sampled(Sampling::vit(request.fps, request.num_frames)),
            ),
        };
        let kind = if still { VisualKind::Image } else { VisualKind::Video };
        let visual = Visual { kind, grid: vit_grid(width, height, vit_frames)? };
        let size = vae_size(width, height, request.max_image_size, MIN_SIZE);
        let placeholder = latent_grid(vae_frames, size);
        Ok(Self {
            visual,
            placeholder,
            frames: media::output_frames(request.num_frames, Some(placeholder.t)),
            width: snap(request.width).unwrap_or(size.0),
            height: snap(request.height).unwrap_or(size.1),
        })
    }

    /// Latent tokens of the result, hence of the renderer's noise.
    pub fn latent(&self) -> Grid {
        latent_grid(self.frames, (self.width, self.height))
    }
}

/// Merged tokens of `frames` frames of `width` × `height` in the vision tower (C.5).
pub fn vit_grid(width: u32, height: u32, frames: usize) -> Result<Grid, VitError> {
    let (width, height) = media::vit_size(width, height)?;
    let side = |pixels: u32| pixels as usize / VIT_STRIDE;
    Ok(Grid { t: frames.div_ceil(TEMPORAL_PATCH), h: side(height), w: side(width) })
}

/// Indices of the frames of a source `video` that the vision tower sees (C.2).
pub fn vit_frames(video: &VideoInfo, fps: u32, num_frames: usize) -> Vec<usize> {
    Sampling::vit(fps, num_frames).frame_indices(video.frames, video.fps)
}

fn latent_grid(frames: usize, (width, height): (u32, u32)) -> Grid {
    let side = |pixels: u32| (pixels / LATENT_STRIDE) as usize;
    Grid { t: media::latent_frames(frames), h: side(height), w: side(width) }
}

/// To a multiple of 16, half to even as Python does; `None` for 0, which asks for nothing.
fn snap(side: u32) -> Option<u32> {
    let stride = f64::from(LATENT_STRIDE);
    let steps = (f64::from(side) / stride).round_ties_even().max(1.0);
    (side > 0).then_some((steps * stride) as u32)
}

/// Why a target has no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Nothing says how large the result is.
    #[error("{field} is 0 and no source video sets the size: pass --height and --width")]
    NoSize {
        /// The flag.
        field: &'static str,
    },
    /// A shape that the vision tower does not take.
    #[error(transparent)]
    Vit(#[from] VitError),
}

#[cfg(test)]
mod tests;
