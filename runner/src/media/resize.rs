//! Bicubic resampling with antialias, bit for bit that of Pillow's `Image.resize` (spec C.1) or of
//! torchvision on uint8 (spec C.5, K.4).
//!
//! Both go across first, then down, with a uint8 picture in between. Pillow keeps coefficients of
//! 22 fraction bits, torch as many as make the largest one of an axis fit 16 bits.

use image::RgbImage;
use rayon::prelude::*;

/// Most fraction bits of a coefficient: 32 minus 8 for the sample and 2 for overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Reach of the bicubic kernel, in source pixels when not scaling down.
const SUPPORT: f64 = 2.0;
const CHANNELS: usize = 3;

/// Resamples as Pillow does to `width` × `height`, both at least 1. An axis that keeps its length
/// is not touched.
pub fn resize_bicubic(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    resize(picture, width, height, |_| PRECISION_BITS)
}

/// Resamples as torchvision does on uint8 CPU tensors (torch 2.7.1 with AVX2), else like
/// [`resize_bicubic`].
pub(super) fn resize_bicubic_torch(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    resize(picture, width, height, |largest| {
        let fits = |bits: &u32| to_fixed(largest, *bits) <= i32::from(i16::MAX);
        (0..=PRECISION_BITS).take_while(fits).last().unwrap_or(0)
    })
}

/// Fraction bits for an axis whose largest coefficient is the argument.
type FractionBits = fn(f64) -> u32;

fn resize(picture: &RgbImage, width: u32, height: u32, bits: FractionBits) -> RgbImage {
    let across = |picture: &RgbImage| across(picture, &Axis::new(picture.width(), width, bits));
    let down = |picture: &RgbImage| down(picture, &Axis::new(picture.height(), height, bits));
    match (picture.width() != width, picture.height() != height) {
        (true, true) => down(&across(picture)),
        (true, false) => across(picture),
        (false, true) => down(picture),
        (false, false) => picture.clone(),
    }
}

fn across(picture: &RgbImage, axis: &Axis) -> RgbImage {
    let width = axis.taps.len();
    let row_len = CHANNELS * picture.width() as usize;
    let mut output = RgbImage::new(width as u32, picture.height());
    let rows = output.par_chunks_exact_mut(CHANNELS * width);
    rows.zip(picture.par_chunks_exact(row_len)).for_each(|(output, row)| {
        for (pixel, taps) in output.chunks_exact_mut(CHANNELS).zip(&axis.taps) {
            let mut sums = [axis.half(); CHANNELS];
            let pixels = row[CHANNELS * taps.start..].chunks_exact(CHANNELS);
            for (source, weight) in pixels.zip(&taps.weights) {
                add_weighted(&mut sums, source, *weight);
            }
            axis.store(pixel, &sums);
        }
    });
    output
}

fn down(picture: &RgbImage, axis: &Axis) -> RgbImage {
    let row_len = CHANNELS * picture.width() as usize;
    let mut output = RgbImage::new(picture.width(), axis.taps.len() as u32);
    output.par_chunks_exact_mut(row_len).zip(&axis.taps).for_each(|(output, taps)| {
        let mut sums = vec![axis.half(); row_len];
        let rows = picture.chunks_exact(row_len).skip(taps.start);
        for (row, weight) in rows.zip(&taps.weights) {
            add_weighted(&mut sums, row, *weight);
        }
        axis.store(output, &sums);
    });
    output
}

fn add_weighted(sums: &mut [i32], samples: &[u8], weight: i32) {
    for (sum, sample) in sums.iter_mut().zip(samples) {
        *sum += i32::from(*sample) * weight;
    }
}

/// Normalised fixed-point coefficients for every output sample of one axis.
struct Axis {
    fraction_bits: u32,
    taps: Vec<Taps>,
}

/// The source samples that make one output sample.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

impl Axis {
    fn new(input: u32, output: u32, bits: FractionBits) -> Self {
        let exact = exact_taps(input, output);
        let largest = exact.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        let fraction_bits = bits(largest);
        let fixed = |(start, weights): (usize, Vec<f64>)| Taps {
            start,
            weights: weights.into_iter().map(|weight| to_fixed(weight, fraction_bits)).collect(),
        };
        Self { fraction_bits, taps: exact.into_iter().map(fixed).collect() }
    }

    /// What a sum starts from, so that dropping the fraction rounds it.
    fn half(&self) -> i32 {
        1 << (self.fraction_bits - 1)
    }

    fn store(&self, samples: &mut [u8], sums: &[i32]) {
        for (sample, sum) in samples.iter_mut().zip(sums) {
            *sample = (sum >> self.fraction_bits).clamp(0, 255) as u8;
        }
    }
}

fn exact_taps(input: u32, output: u32) -> Vec<(usize, Vec<f64>)> {
    let scale = f64::from(input) / f64::from(output);
    let stretch = scale.max(1.0);
    let reach = SUPPORT * stretch;
    let one = |i: u32| {
        let center = (f64::from(i) + 0.5) * scale;
        let start = (center - reach + 0.5).max(0.0) as u32;
        let end = ((center + reach + 0.5) as u32).min(input);
        let weight = |x: u32| bicubic((f64::from(x) - center + 0.5) * (1.0 / stretch));
        let mut weights: Vec<f64> = (start..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        if total != 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= total);
        }
        (start as usize, weights)
    };
    (0..output).map(one).collect()
}

fn to_fixed(weight: f64, fraction_bits: u32) -> i32 {
    (weight * f64::from(1 << fraction_bits)).round() as i32
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
