//! Structural similarity (Wang et al. 2004): what two pictures have in common to the eye.

use crate::error::LengthError;

/// Taps of the window on either side of its middle: 11 × 11.
const RADIUS: usize = 5;
/// Standard deviation of the Gaussian window.
const SIGMA: f64 = 1.5;
const K1: f64 = 0.01;
const K2: f64 = 0.03;

/// Two pictures that cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SsimError {
    /// Not as many values as pixels.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// No window fits.
    #[error(
        "SSIM: expected a picture of 11x11 pixels at least, found {width}x{height} with {channels} \
         channels; compare larger ones"
    )]
    TooSmall {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Values of a pixel.
        channels: usize,
    },
}

/// Mean SSIM of two pictures `[height, width, channels]` whose values span `peak` (255 for bytes):
/// 1 for equal ones. Each channel for itself, an 11×11 Gaussian window with σ = 1.5 at every place
/// where it lies inside the picture, population variances. A value that is not finite makes the
/// result not finite.
pub fn ssim(
    reference: &[f32],
    result: &[f32],
    shape: [usize; 3],
    peak: f64,
) -> Result<f64, SsimError> {
    let [height, width, channels] = shape;
    let size = 2 * RADIUS + 1;
    if height < size || width < size || channels == 0 {
        return Err(SsimError::TooSmall { width, height, channels });
    }
    let expected = height.saturating_mul(width).saturating_mul(channels);
    for found in [reference.len(), result.len()] {
        if found != expected {
            return Err(LengthError { expected, found }.into());
        }
    }
    let plane = |values: &[f32], channel: usize| -> Vec<f64> {
        values.iter().skip(channel).step_by(channels).map(|&x| x.into()).collect()
    };
    let of_channel =
        |c: usize| of_plane(&plane(reference, c), &plane(result, c), width, peak.powi(2));
    Ok((0..channels).map(of_channel).sum::<f64>() / channels as f64)
}

/// Mean SSIM of one channel.
fn of_plane(a: &[f64], b: &[f64], width: usize, peak_squared: f64) -> f64 {
    let blurred = |of: &dyn Fn(f64, f64) -> f64| {
        let plane: Vec<_> = a.iter().zip(b).map(|(&a, &b)| of(a, b)).collect();
        blur(&plane, width)
    };
    let means = [blurred(&|a, _| a), blurred(&|_, b| b)];
    let squares = [blurred(&|a, _| a * a), blurred(&|_, b| b * b), blurred(&|a, b| a * b)];
    let (c1, c2) = (K1 * K1 * peak_squared, K2 * K2 * peak_squared);
    let at = |i: usize| {
        let (a, b) = (means[0][i], means[1][i]);
        let variances = squares[0][i] - a * a + squares[1][i] - b * b;
        let covariance = squares[2][i] - a * b;
        (2.0 * a * b + c1) * (2.0 * covariance + c2) / ((a * a + b * b + c1) * (variances + c2))
    };
    let count = means[0].len();
    (0..count).map(at).sum::<f64>() / count as f64
}

/// The Gaussian window at every place inside the plane: rows first, then columns.
fn blur(plane: &[f64], width: usize) -> Vec<f64> {
    let window = window();
    let weigh = |values: &mut dyn Iterator<Item = f64>| -> f64 {
        values.zip(window).map(|(x, weight)| x * weight).sum()
    };
    let inner = width - 2 * RADIUS;
    let rows = plane.chunks_exact(width).flat_map(|row| row.windows(window.len()));
    let rows: Vec<f64> = rows.map(|values| weigh(&mut values.iter().copied())).collect();
    let last = rows.len() - 2 * RADIUS * inner;
    let column = |start: usize| weigh(&mut rows[start..].iter().copied().step_by(inner));
    (0..last).map(column).collect()
}

fn window() -> [f64; 2 * RADIUS + 1] {
    let tap = |i: usize| (-0.5 * ((i as f64 - RADIUS as f64) / SIGMA).powi(2)).exp();
    let taps: [f64; 2 * RADIUS + 1] = std::array::from_fn(tap);
    let total: f64 = taps.iter().sum();
    taps.map(|tap| tap / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern and the same with noise.
    fn pictures([height, width, channels]: [usize; 3]) -> [Vec<f32>; 2] {
        let places = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |c| (x, y, c))));
        let pattern = |(x, y, c): (usize, usize, usize)| (7 * x + 13 * y + 29 * c + x * y) % 256;
        let noise = |(x, y, c): (usize, usize, usize)| ((5 * x + 3 * y + c) % 23) as f32 - 11.0;
        let noisy = |place| (pattern(place) as f32 + noise(place)).clamp(0.0, 255.0);
        [places.clone().map(|place| pattern(place) as f32).collect(), places.map(noisy).collect()]
    }

    /// scikit-image 0.25.2: structural_similarity(a, b, gaussian_weights=True, sigma=1.5,
    /// use_sample_covariance=False, data_range=255, channel_axis=2).
    #[test]
    fn values_are_those_of_scikit_image() {
        for (shape, expected) in [
            ([13, 17, 3], 0.9921982635333212),
            ([11, 11, 1], 0.9799970885755128),
            ([24, 12, 2], 0.9914694576795513),
        ] {
            let [a, b] = pictures(shape);
            let found = ssim(&a, &b, shape, 255.0).unwrap();
            assert!((found - expected).abs() < 1e-12, "{shape:?}: {found}");
        }
    }

    #[test]
    fn equal_pictures_are_one_and_scale_of_the_values_does_not_matter() {
        let shape = [12, 19, 3];
        let [a, b] = pictures(shape);
        assert!((ssim(&a, &a, shape, 255.0).unwrap() - 1.0).abs() < 1e-12);
        let [a1, b1] = [&a, &b].map(|x| x.iter().map(|x| x / 256.0).collect::<Vec<_>>());
        let whole = ssim(&a, &b, shape, 256.0).unwrap();
        assert!((ssim(&a1, &b1, shape, 1.0).unwrap() - whole).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_and_nan_is_seen() {
        let shape = [11, 12, 1];
        let [mut a, b] = pictures(shape);
        let refused = ssim(&a, &b[1..], shape, 255.0).unwrap_err();
        assert_eq!(refused, SsimError::Length(LengthError { expected: 132, found: 131 }));
        for small in [[10, 13, 1], [13, 10, 1], [11, 12, 0], [0, 0, 3]] {
            assert!(matches!(ssim(&[], &[], small, 1.0), Err(SsimError::TooSmall { .. })));
        }
        assert!(ssim(&a, &b, [usize::MAX; 3], 1.0).is_err());
        a[70] = f32::NAN;
        assert!(ssim(&a, &b, shape, 255.0).unwrap().is_nan());
    }
}
