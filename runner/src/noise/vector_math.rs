//! The float32 `ln` and `sin`/`cos` behind torch's vectorised normal fill on AVX2: the Cephes
//! polynomials, evaluated with fused multiply-adds in the order that gives torch's bits.

use std::f32::consts::FRAC_1_SQRT_2;

/// Polynomial with the highest power first.
fn horner(x: f32, coefficients: &[f32]) -> f32 {
    coefficients.iter().fold(0.0, |sum, &c| sum.mul_add(x, c))
}

/// Natural logarithm of a normal float in (0, 1].
pub(super) fn ln(x: f32) -> f32 {
    const MANTISSA: u32 = 0x007f_ffff;
    let (mut exponent, mut fraction) =
        ((x.to_bits() >> 23) as f32 - 126.0, f32::from_bits(x.to_bits() & MANTISSA | 0x3f00_0000));
    if fraction < FRAC_1_SQRT_2 {
        (exponent, fraction) = (exponent - 1.0, fraction - 1.0 + fraction);
    } else {
        fraction -= 1.0;
    }
    let square = fraction * fraction;
    let polynomial = horner(fraction, &LN) * fraction;
    // ln 2 in two parts: the first is exact in float32, the rest corrects it.
    let tail = polynomial.mul_add(square, exponent * -2.121_944_4e-4) - 0.5 * square;
    exponent.mul_add(0.693_359_4, fraction + tail)
}

/// Sine and cosine of an angle in [0, 2π].
pub(super) fn sin_cos(angle: f32) -> (f32, f32) {
    let octant = ((angle * (4.0 / std::f32::consts::PI)) as u32 + 1) & !1;
    let multiple = octant as f32;
    // π/4 in three parts, so that the reduced angle keeps its low bits.
    let x = [-0.785_156_25, -2.418_756_5e-4, -3.774_895e-8]
        .iter()
        .fold(angle, |x, &part| multiple.mul_add(part, x));
    let square = x * x;
    let cos = (horner(square, &COS) * square).mul_add(square, -0.5 * square) + 1.0;
    let sin = (horner(square, &SIN) * square).mul_add(x, x);
    match octant & 7 {
        0 => (sin, cos),
        2 => (cos, -sin),
        4 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

const LN: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_87e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_4e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
const SIN: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
const COS: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];

#[cfg(test)]
mod tests {
    use super::{ln, sin_cos};

    #[test]
    fn logarithm_is_within_two_ulp_of_the_true_one() {
        assert_eq!(ln(1.0), 0.0);
        for i in 1..=4099u32 {
            let x = i as f32 / 4099.0;
            let truth = f64::from(x).ln();
            assert!((f64::from(ln(x)) - truth).abs() <= 2.4e-7 * truth.abs(), "ln({x})");
        }
    }

    #[test]
    fn sine_and_cosine_are_within_two_ulp_of_one() {
        for i in 0..=4099u32 {
            let angle = i as f32 / 4099.0 * std::f32::consts::TAU;
            let (sin, cos) = sin_cos(angle);
            let (true_sin, true_cos) = f64::from(angle).sin_cos();
            assert!((f64::from(sin) - true_sin).abs() <= 1.2e-7, "sin({angle})");
            assert!((f64::from(cos) - true_cos).abs() <= 1.2e-7, "cos({angle})");
        }
    }
}
