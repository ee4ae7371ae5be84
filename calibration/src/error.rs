//! How far a result is from its reference. Gate on relative L2: cosine is blind to scale.

pub use crate::ssim::{SsimError, ssim};

/// Distances between two arrays of equal length.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Errors {
    /// |result − reference| / |reference|, both in L2; 0 for two arrays of zeros.
    pub rel_l2: f64,
    /// Cosine of the angle between them; 1 for two arrays of zeros.
    pub cosine: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
}

/// Two arrays that cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("comparison: expected {expected} values, found {found}; compare arrays of one shape")]
pub struct LengthError {
    /// Length of the reference.
    pub expected: usize,
    /// Length of the result.
    pub found: usize,
}

fn check(reference: &[f32], result: &[f32]) -> Result<(), LengthError> {
    let (expected, found) = (reference.len(), result.len());
    if expected == found { Ok(()) } else { Err(LengthError { expected, found }) }
}

/// Measures `result` against `reference`, in f64. A value that is not finite makes every measure
/// that sees it not finite, never small.
pub fn compare(reference: &[f32], result: &[f32]) -> Result<Errors, LengthError> {
    check(reference, result)?;
    let (mut aa, mut bb, mut ab, mut dd, mut max) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&a, &b) in reference.iter().zip(result) {
        let (a, b) = (f64::from(a), f64::from(b));
        let d = (a - b).abs();
        (aa, bb, ab, dd) = (aa + a * a, bb + b * b, ab + a * b, dd + d * d);
        max = if d > max || d.is_nan() { d } else { max };
    }
    let rel_l2 = if dd == 0.0 { 0.0 } else { (dd / aa).sqrt() };
    let cosine = if aa == 0.0 && bb == 0.0 { 1.0 } else { ab / (aa * bb).sqrt() };
    Ok(Errors { rel_l2, cosine, max_abs: max })
}

/// Peak signal-to-noise ratio in dB for signals of span `peak` (255 for bytes); infinite for
/// equal arrays.
pub fn psnr(reference: &[f32], result: &[f32], peak: f64) -> Result<f64, LengthError> {
    check(reference, result)?;
    let square = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).powi(2);
    let mean = reference.iter().zip(result).map(square).sum::<f64>() / reference.len() as f64;
    Ok(if mean == 0.0 { f64::INFINITY } else { 10.0 * (peak * peak / mean).log10() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_agree_with_hand_computed_values() {
        let errors = compare(&[3.0, 4.0, 0.0], &[3.0, 4.0, 1.0]).unwrap();
        assert!((errors.rel_l2 - 0.2).abs() < 1e-12);
        assert!((errors.cosine - 25.0 / (25.0f64 * 26.0).sqrt()).abs() < 1e-12);
        assert_eq!(errors.max_abs, 1.0);
        let db = psnr(&[0.0, 10.0], &[0.0, 15.0], 255.0).unwrap();
        assert!((db - 10.0 * (65025.0f64 / 12.5).log10()).abs() < 1e-9);
    }

    #[test]
    fn cosine_is_blind_to_scale_and_relative_l2_is_not() {
        let errors = compare(&[1.0, -2.0, 0.5], &[2.0, -4.0, 1.0]).unwrap();
        assert!((errors.cosine - 1.0).abs() < 1e-12 && (errors.rel_l2 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn edges_are_not_mistaken_for_success() {
        assert_eq!(compare(&[0.0], &[0.0]).unwrap().rel_l2, 0.0);
        assert_eq!(compare(&[0.0], &[1e-9]).unwrap().rel_l2, f64::INFINITY);
        let errors = compare(&[1.0, 2.0], &[f32::NAN, 2.0]).unwrap();
        assert!(errors.rel_l2.is_nan() && errors.max_abs.is_nan());
        assert!(compare(&[1.0], &[1.0, 2.0]).is_err());
        assert_eq!(psnr(&[1.0], &[1.0], 1.0).unwrap(), f64::INFINITY);
    }
}
