//! The number format E4M3: one sign bit, four of exponent (bias 7), three of mantissa; no infinity.

use crate::E4M3_MAX;

/// Smallest normal value.
const MIN_NORMAL: f32 = 1.0 / 64.0;
/// Subnormal values are multiples of its inverse.
const SUBNORMALS: f32 = 512.0;

/// The code nearest to `x`: ties to even, saturating at ±448; NaN stays NaN.
pub fn encode(x: f32) -> u8 {
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    let magnitude = x.abs();
    if magnitude.is_nan() {
        return sign | 0x7F;
    }
    if magnitude < MIN_NORMAL {
        // Eight steps carry into the first normal code by themselves.
        return sign | (magnitude * SUBNORMALS).round_ties_even() as u8;
    }
    let bits = magnitude.min(E4M3_MAX).to_bits();
    let rounded = (bits + 0x7_FFFF + (bits >> 20 & 1)) >> 20;
    sign | (rounded - ((127 - 7) << 3)) as u8
}

/// The value of a code.
pub fn decode(code: u8) -> f32 {
    let (exponent, mantissa) = (code >> 3 & 15, code & 7);
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        (0, _) => f32::from(mantissa) / SUBNORMALS,
        _ => f32::from_bits((u32::from(code & 0x7F) + ((127 - 7) << 3)) << 20),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// What is left of `x` after rounding with a scale, the real value of one E4M3 unit.
pub fn round(x: f32, scale: f32) -> f32 {
    decode(encode(x / scale)) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the format's definition.
    fn defined(code: u8) -> f32 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
        let magnitude = match exponent {
            0 => mantissa / 8.0 * 2.0f32.powi(-6),
            _ => (1.0 + mantissa / 8.0) * 2.0f32.powi(exponent - 7),
        };
        if code & 0x80 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn codes_have_the_values_of_the_format() {
        for code in (0..=255u8).filter(|code| code & 0x7F != 0x7F) {
            assert_eq!(decode(code), defined(code), "{code:#x}");
            assert_eq!(encode(decode(code)), code, "{code:#x}");
        }
        assert_eq!(decode(0x7E), E4M3_MAX);
    }

    #[test]
    fn ties_go_to_even() {
        for code in 0..0x7E {
            let middle = f64::midpoint(defined(code).into(), defined(code + 1).into()) as f32;
            let even = code + (code & 1);
            for (x, expected) in [
                (middle, even),
                (f32::from_bits(middle.to_bits() - 1), code),
                (f32::from_bits(middle.to_bits() + 1), code + 1),
            ] {
                assert_eq!(encode(x), expected, "{x}");
                assert_eq!(encode(-x), expected | 0x80, "-{x}");
            }
        }
    }

    #[test]
    fn beyond_the_range_saturates_and_nan_stays() {
        for x in [448.1, 464.0, 1e30, f32::INFINITY] {
            assert_eq!((encode(x), encode(-x)), (0x7E, 0xFE), "{x}");
        }
        assert_eq!(encode(f32::NAN) & 0x7F, 0x7F);
        assert!(decode(0x7F).is_nan() && decode(0xFF).is_nan());
        assert_eq!((encode(0.0), encode(-0.0), encode(f32::MIN_POSITIVE)), (0, 0x80, 0));
    }

    #[test]
    fn a_scale_is_the_value_of_one_unit() {
        assert_eq!(round(1000.0, 2.0), 896.0);
        assert_eq!(round(0.3, 0.1), 0.1 * 3.0);
    }
}
