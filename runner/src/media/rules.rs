//! Which sizes, frames and counts the model sees: spec C.1, C.2, C.3, K.5, K.10–K.12.

/// Latent frames, and 4n + 1 pixel frames, come in steps of this (the VAE's temporal stride).
const TEMPORAL_STRIDE: usize = 4;
/// Sides of VAE inputs are multiples of this (VAE stride 8, patch 2).
const SPATIAL_STRIDE: f64 = 16.0;

/// Size (width, height) at which a `width` × `height` picture or frame enters the VAE (C.1).
///
/// `max_size` bounds the long side, `min_size` raises the short one (240 in the full pipeline, 1
/// in the renderer-only one); `max_size` wins. All arguments are at least 1; results are
/// multiples of 16.
pub fn vae_size(width: u32, height: u32, max_size: u32, min_size: u32) -> (u32, u32) {
    let (long, short) = (f64::from(width.max(height)), f64::from(width.min(height)));
    let max_size = f64::from(max_size);
    let scale = (max_size / long).min(1.0).max(f64::from(min_size) / short);
    let mut size = [width, height].map(|side| snap16(f64::from(side) * scale));
    let longest = size[0].max(size[1]);
    if longest > max_size {
        size = size.map(|side| snap16(side * (max_size / longest)));
    }
    (size[0] as u32, size[1] as u32)
}

/// Rounds to a pixel, then to a multiple of 16, both half to even as Python does (K.5).
fn snap16(side: f64) -> f64 {
    let steps = (side.round_ties_even() / SPATIAL_STRIDE).round_ties_even();
    (steps * SPATIAL_STRIDE).max(SPATIAL_STRIDE)
}

/// How one user of a clip samples it in time (C.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Frames per second wanted.
    pub target_fps: f64,
    /// Frames come in multiples of this ...
    pub factor: usize,
    /// ... plus one if set.
    pub add_one: bool,
    /// Frames are cut to the last multiple (plus one) that this allows.
    pub max_frames: usize,
    /// Renderer-only pipeline: at equal rates take consecutive frames instead of spreading them.
    pub snap_equal_rates: bool,
}

impl Sampling {
    /// Sampling for the VAE: 4n + 1 frames at `fps`, at least 5 unless `num_frames` is below 4.
    pub fn vae(fps: u32, num_frames: usize, renderer_only: bool) -> Self {
        Self {
            target_fps: f64::from(fps),
            factor: TEMPORAL_STRIDE,
            add_one: true,
            max_frames: num_frames,
            snap_equal_rates: renderer_only,
        }
    }

    /// Sampling for the vision tower: an even number of frames at `fps` // 8, over the whole clip.
    pub fn vit(fps: u32, num_frames: usize) -> Self {
        Self {
            target_fps: f64::from(fps / 8),
            factor: 2,
            add_one: false,
            max_frames: num_frames,
            snap_equal_rates: false,
        }
    }

    /// Indices to read from a clip of `total` ≥ 1 frames at `source_fps` > 0 frames per second.
    ///
    /// Ascending, within the clip, possibly repeated (short clips, `source_fps` below the target).
    pub fn frame_indices(&self, total: usize, source_fps: f64) -> Vec<usize> {
        let extra = usize::from(self.add_one);
        let wanted = total as f64 / source_fps * self.target_fps / self.factor as f64;
        let n = (wanted.floor() as usize).max(1).saturating_mul(self.factor).saturating_add(extra);
        let span = if self.snap_equal_rates && source_fps == self.target_fps {
            total / self.factor * self.factor + extra
        } else {
            total
        };
        let kept = n.min(self.max_frames / self.factor * self.factor + extra);
        let last = span.saturating_sub(1) as f32;
        (0..kept).map(|i| (linspace(last, n, i) as usize).min(total.saturating_sub(1))).collect()
    }
}

/// Element `i` of `torch.linspace(0, end, n)` in f32, rounded half to even: torch computes the
/// second half from the end (K.5).
fn linspace(end: f32, n: usize, i: usize) -> f32 {
    if n < 2 {
        return 0.0;
    }
    let step = end / (n - 1) as f32;
    let x = if i < n / 2 { step * i as f32 } else { end - step * (n - 1 - i) as f32 };
    x.round_ties_even()
}

/// Latent frames of a clip of `frames` ≥ 1 pixel frames: one for the first, one per further four.
pub fn latent_frames(frames: usize) -> usize {
    frames.saturating_sub(1) / TEMPORAL_STRIDE + 1
}

/// Frames of the result (C.3, K.11): `num_frames`, but not more than the source clip's
/// `latent_frames` allow, snapped to 4n + 1. Without a source clip pass `None`.
///
/// The renderer-only pipeline uses the same rule on its first clip (K.12).
pub fn output_frames(num_frames: usize, source_latent_frames: Option<usize>) -> usize {
    let longest = match source_latent_frames {
        Some(frames) => frames.saturating_sub(1).saturating_mul(TEMPORAL_STRIDE).saturating_add(1),
        None => num_frames,
    };
    num_frames.min(longest) / TEMPORAL_STRIDE * TEMPORAL_STRIDE + 1
}

#[cfg(test)]
mod tests;
