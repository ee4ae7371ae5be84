//! Pictures and clips as the vision tower takes them: Qwen2-VL's preprocessing (spec C.5, K.4).

use image::RgbImage;
use ndarray::Array3;

use super::resize::resize_bicubic_torch;
use crate::latents::Grid;

/// Side of a patch in pixels, patches along a side of a merged token, frames of a patch.
const PATCH: usize = 14;
const MERGE: usize = 2;
const TEMPORAL_PATCH: usize = 2;
const CHANNELS: usize = 3;
/// Values of a patch: (channel, frame, row, column).
const PATCH_VALUES: usize = CHANNELS * TEMPORAL_PATCH * PATCH * PATCH;
/// Both sides of a resized frame are multiples of this.
const FACTOR: f64 = (PATCH * MERGE) as f64;
/// Fewest and most pixels of a resized frame.
const MIN_PIXELS: f64 = 3136.0;
const MAX_PIXELS: f64 = 50_176.0;
/// Longest side over shortest.
const MAX_ASPECT: f64 = 200.0;

/// Mean and standard deviation of each channel, for samples from 0 to 1.
const MEAN: [f32; CHANNELS] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f32; CHANNELS] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Why a picture cannot go into the vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VitError {
    /// The reference refuses such pictures too.
    #[error(
        "{width}x{height} pixels: one side is more than 200 times the other, which the vision \
         tower does not take; crop the picture"
    )]
    Aspect {
        /// Width found.
        width: u32,
        /// Height found.
        height: u32,
    },
}

/// Size (width, height) at which a `width` × `height` picture or frame enters the vision tower:
/// multiples of 28 near its own size, between 3,136 and 50,176 pixels.
pub fn vit_size(width: u32, height: u32) -> Result<(u32, u32), VitError> {
    let sides = [width, height].map(f64::from);
    let [long, short] = [sides[0].max(sides[1]), sides[0].min(sides[1])];
    if long == 0.0 || long / short > MAX_ASPECT {
        return Err(VitError::Aspect { width, height });
    }
    let pixels = sides[0] * sides[1];
    let mut size = sides.map(|side| (side / FACTOR).round_ties_even() * FACTOR);
    if size[0] * size[1] > MAX_PIXELS {
        let beta = (pixels / MAX_PIXELS).sqrt();
        size = sides.map(|side| ((side / beta / FACTOR).floor() * FACTOR).max(FACTOR));
    } else if size[0] * size[1] < MIN_PIXELS {
        let beta = (MIN_PIXELS / pixels).sqrt();
        size = sides.map(|side| (side * beta / FACTOR).ceil() * FACTOR);
    }
    Ok((size[0] as u32, size[1] as u32))
}

/// A frame at its [`vit_size`], resampled as torchvision does. Small: keep these, not the frames.
pub fn vit_frame(frame: &RgbImage) -> Result<RgbImage, VitError> {
    let (width, height) = vit_size(frame.width(), frame.height())?;
    Ok(resize_bicubic_torch(frame, width, height))
}

/// Patches f32 `[t, 4·h·w, 1176]` of one picture, or of the frames of a clip, and the grid of
/// merged tokens.
///
/// `frames` come from [`vit_frame`] and have one size; the last is repeated where their number is
/// odd. Patches are in the order (t, h, w, 2, 2), their values in the order (channel, frame, row,
/// column), normalised. No frames give no patches.
pub fn vit_patches(frames: &[RgbImage]) -> (Array3<f32>, Grid) {
    let (width, height) = frames.first().map_or((0, 0), RgbImage::dimensions);
    let side = |pixels: u32| pixels as usize / (PATCH * MERGE);
    let grid = Grid { t: frames.len().div_ceil(TEMPORAL_PATCH), h: side(height), w: side(width) };
    let mut patches = Array3::zeros((grid.t, grid.h * grid.w * MERGE * MERGE, PATCH_VALUES));
    let places = grid.positions().flat_map(|[t, h, w]| {
        (0..MERGE * MERGE).map(move |i| [t, MERGE * h + i / MERGE, MERGE * w + i % MERGE])
    });
    for (mut patch, [t, row, column]) in patches.rows_mut().into_iter().zip(places) {
        for (i, value) in patch.iter_mut().enumerate() {
            let (channel, frame) = (i / (TEMPORAL_PATCH * PATCH * PATCH), i / (PATCH * PATCH) % 2);
            let (y, x) = (row * PATCH + i / PATCH % PATCH, column * PATCH + i % PATCH);
            let frame = &frames[(t * TEMPORAL_PATCH + frame).min(frames.len() - 1)];
            *value = normalise(frame.get_pixel(x as u32, y as u32).0[channel], channel);
        }
    }
    (patches, grid)
}

/// Scaling to 0..1 and normalising in one step, as the reference does.
fn normalise(sample: u8, channel: usize) -> f32 {
    (f32::from(sample) - MEAN[channel] * 255.0) / (STD[channel] * 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_specification() {
        for (size, expected) in [
            ((832, 480), (280, 168)),
            ((848, 480), (280, 168)),
            ((1280, 720), (280, 168)),
            ((512, 512), (224, 224)),
            ((1, 1), (56, 56)),
        ] {
            assert_eq!(vit_size(size.0, size.1), Ok(expected));
        }
    }

    #[test]
    fn slivers_are_refused() {
        for (width, height) in [(201, 1), (1, 16_384), (0, 0), (0, 5), (5, 0)] {
            assert_eq!(vit_size(width, height), Err(VitError::Aspect { width, height }));
        }
        assert!(vit_size(200, 1).is_ok());
    }

    #[test]
    fn patches_hold_two_frames_and_repeat_the_last() {
        let frame = |shade: u8| {
            RgbImage::from_fn(84, 56, |x, y| image::Rgb([shade, (x / 14) as u8, (y / 14) as u8]))
        };
        let (patches, grid) = vit_patches(&[frame(1), frame(2), frame(3)]);
        assert_eq!((patches.dim(), grid), ((2, 24, 1176), Grid { t: 2, h: 2, w: 3 }));
        let at = |patch: usize, channel: usize, time: usize| {
            let value = patches[[patch / 24, patch % 24, (channel * 2 + time) * 196 + 100]];
            (value * STD[channel] * 255.0 + MEAN[channel] * 255.0).round() as u8
        };
        assert_eq!([at(0, 0, 0), at(0, 0, 1), at(24, 0, 0), at(47, 0, 1)], [1, 2, 3, 3]);
        // Sixth patch: second merged token, (row 0, column 3). Last of the frame: (3, 5).
        assert_eq!([at(5, 1, 0), at(5, 2, 0), at(23, 1, 0), at(23, 2, 0)], [3, 0, 5, 3]);
    }

    #[test]
    fn no_frames_give_no_patches() {
        let (patches, grid) = vit_patches(&[]);
        assert_eq!((patches.dim(), grid.tokens()), ((0, 0, 1176), 0));
    }
}
