//! Bicubic resampling with antialias, equal to Pillow's `Image.resize` bit for bit (spec C.1, K.4).
//!
//! Faster crates keep 16-bit coefficients and differ by a level, so the 22-bit arithmetic of
//! Pillow is done here: across first, then down, with a uint8 picture in between.

use image::RgbImage;
use rayon::prelude::*;

/// Fraction bits of a coefficient: 32 minus 8 for the sample and 2 for overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Reach of the bicubic kernel, in source pixels when not scaling down.
const SUPPORT: f64 = 2.0;
const CHANNELS: usize = 3;

/// Resamples to `width` × `height`, both at least 1. An axis that keeps its length is not touched.
pub fn resize_bicubic(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    match (picture.width() != width, picture.height() != height) {
        (true, true) => resize_down(&resize_across(picture, width), height),
        (true, false) => resize_across(picture, width),
        (false, true) => resize_down(picture, height),
        (false, false) => picture.clone(),
    }
}

fn resize_across(picture: &RgbImage, width: u32) -> RgbImage {
    let taps = taps(picture.width(), width);
    let row_len = CHANNELS * picture.width() as usize;
    let mut output = RgbImage::new(width, picture.height());
    let rows = output.par_chunks_exact_mut(CHANNELS * width as usize);
    rows.zip(picture.par_chunks_exact(row_len)).for_each(|(output, row)| {
        for (pixel, taps) in output.chunks_exact_mut(CHANNELS).zip(&taps) {
            pixel.copy_from_slice(&weigh_pixels(&row[CHANNELS * taps.start..], &taps.weights));
        }
    });
    output
}

fn weigh_pixels(pixels: &[u8], weights: &[i32]) -> [u8; CHANNELS] {
    let mut sums = [HALF; CHANNELS];
    for (pixel, weight) in pixels.chunks_exact(CHANNELS).zip(weights) {
        for (sum, sample) in sums.iter_mut().zip(pixel) {
            *sum += i32::from(*sample) * weight;
        }
    }
    sums.map(to_sample)
}

fn resize_down(picture: &RgbImage, height: u32) -> RgbImage {
    let taps = taps(picture.height(), height);
    let row_len = CHANNELS * picture.width() as usize;
    let mut output = RgbImage::new(picture.width(), height);
    output.par_chunks_exact_mut(row_len).zip(&taps).for_each(|(output, taps)| {
        let mut sums = vec![HALF; row_len];
        let rows = picture.chunks_exact(row_len).skip(taps.start);
        for (row, weight) in rows.zip(&taps.weights) {
            for (sum, sample) in sums.iter_mut().zip(row) {
                *sum += i32::from(*sample) * weight;
            }
        }
        for (sample, sum) in output.iter_mut().zip(sums) {
            *sample = to_sample(sum);
        }
    });
    output
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn to_sample(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// The source samples that make one output sample.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// Normalised fixed-point coefficients for every output sample of one axis.
fn taps(input: u32, output: u32) -> Vec<Taps> {
    let scale = f64::from(input) / f64::from(output);
    let stretch = scale.max(1.0);
    let reach = SUPPORT * stretch;
    let one = |i: u32| {
        let center = (f64::from(i) + 0.5) * scale;
        let start = (center - reach + 0.5).max(0.0) as u32;
        let end = ((center + reach + 0.5) as u32).min(input);
        let weight = |x: u32| bicubic((f64::from(x) - center + 0.5) * (1.0 / stretch));
        let weights: Vec<f64> = (start..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let weights = weights.iter().map(|w| to_fixed(if total == 0.0 { *w } else { w / total }));
        Taps { start: start as usize, weights: weights.collect() }
    };
    (0..output).map(one).collect()
}

fn to_fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION_BITS)).round() as i32
}

/// Keys' cubic with a = -0.5, evaluated in the order that gives Pillow's last bit.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_resized(picture: &RgbImage, size: (u32, u32), expected: &[u8]) {
        let resized = resize_bicubic(picture, size.0, size.1);
        assert_eq!(resized.dimensions(), size);
        assert_eq!(resized.as_raw(), expected);
    }

    fn adler32(bytes: &[u8]) -> u32 {
        let (mut a, mut b) = (1, 0);
        for byte in bytes {
            a = (a + u32::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        b << 16 | a
    }

    /// The same generator as in the Python lines that printed the expectations.
    fn noise(width: u32, height: u32) -> RgbImage {
        let mut state = 1u32;
        RgbImage::from_fn(width, height, |_, _| {
            image::Rgb([0; 3].map(|_: u8| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        })
    }

    /// The printed pixels are those of Pillow 11.3, `Image.resize(size, BICUBIC)`.
    #[test]
    fn equals_pillow_on_small_pictures() {
        let input = noise(5, 3);
        assert_resized(
            &input,
            (3, 2),
            &[149, 107, 96, 139, 80, 55, 123, 138, 113, 242, 110, 90, 121, 174, 173, 82, 144, 202],
        );
        assert_resized(
            &input,
            (2, 3),
            &[143, 67, 86, 171, 132, 65, 164, 140, 69, 51, 100, 147, 220, 122, 143, 118, 197, 219],
        );
        assert_resized(
            &input,
            (7, 4),
            &[
                42, 92, 133, 121, 32, 118, 197, 37, 68, 207, 148, 0, 181, 72, 82, 160, 124, 90,
                153, 232, 50, 181, 191, 102, 181, 136, 81, 149, 73, 53, 84, 48, 42, 68, 112, 104,
                92, 133, 140, 124, 119, 145, 255, 166, 81, 238, 148, 79, 160, 117, 96, 49, 97, 140,
                68, 192, 178, 78, 157, 195, 71, 58, 196, 236, 32, 82, 255, 59, 112, 222, 143, 170,
                124, 255, 231, 181, 255, 255, 126, 180, 220, 27, 87, 170,
            ],
        );
    }

    /// Adler-32 of Pillow's bytes: sizes whose coefficients would betray 16-bit arithmetic.
    #[test]
    fn equals_pillow_on_awkward_sizes() {
        for (input, output, expected) in [
            ((37, 23), (16, 48), 3_577_641_804),
            ((333, 517), (96, 160), 852_995_374),
            ((101, 67), (240, 352), 522_350_450),
            ((640, 360), (848, 480), 3_773_730_123),
        ] {
            let resized = resize_bicubic(&noise(input.0, input.1), output.0, output.1);
            assert_eq!(adler32(&resized), expected, "{input:?} -> {output:?}");
        }
    }

    #[test]
    fn keeps_an_unchanged_picture() {
        let picture = noise(13, 7);
        assert_eq!(resize_bicubic(&picture, 13, 7), picture);
    }

    #[test]
    fn survives_one_pixel_and_extreme_ratios() {
        let one = RgbImage::from_pixel(1, 1, image::Rgb([7, 130, 255]));
        assert!(resize_bicubic(&one, 48, 16).pixels().all(|p| p.0 == [7, 130, 255]));
        assert_eq!(resize_bicubic(&noise(997, 1), 1, 31).dimensions(), (1, 31));
    }
}
