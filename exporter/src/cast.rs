//! Number formats: from what a checkpoint stores to what a graph computes with.

use bernini_graphs::DType;
use half::{bf16, f16};

use crate::checkpoint::StoredType;

/// Largest E4M3 value, code 0x7E.
const E4M3_MAX: f32 = 448.0;
/// Smallest normal E4M3 value.
const E4M3_MIN_NORMAL: f32 = 1.0 / 64.0;

/// The E4M3 code nearest to `x`: ties to even, saturating at ±448; NaN stays NaN.
pub fn e4m3_from_f32(x: f32) -> u8 {
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    let magnitude = x.abs();
    if magnitude.is_nan() {
        return sign | 0x7F;
    }
    if magnitude < E4M3_MIN_NORMAL {
        // Steps of 2^-9; eight of them carry into the first normal code by themselves.
        return sign | (magnitude * 512.0).round_ties_even() as u8;
    }
    let bits = magnitude.min(E4M3_MAX).to_bits();
    let rounded = (bits + 0x7_FFFF + (bits >> 20 & 1)) >> 20;
    sign | (rounded - ((127 - 7) << 3)) as u8
}

/// Casts little-endian elements from `from` to `to`; E4M3 values are divided by `scale` first.
///
/// `None` where `from` is no type of a weight.
pub fn cast(bytes: Vec<u8>, from: StoredType, to: DType, scale: f32) -> Option<Vec<u8>> {
    if matches!((from, to), (StoredType::F32, DType::F32) | (StoredType::Bf16, DType::Bf16)) {
        return Some(bytes);
    }
    match from {
        StoredType::F32 => Some(encode(floats(&bytes), to, scale)),
        StoredType::F16 => Some(encode(pairs(&bytes).map(|x| f16::from_bits(x).into()), to, scale)),
        StoredType::Bf16 => {
            Some(encode(pairs(&bytes).map(|x| bf16::from_bits(x).into()), to, scale))
        }
        StoredType::Other(..) => None,
    }
}

fn floats(bytes: &[u8]) -> impl ExactSizeIterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))
}

fn pairs(bytes: &[u8]) -> impl ExactSizeIterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|&b| u16::from_le_bytes(b))
}

fn encode(values: impl ExactSizeIterator<Item = f32>, to: DType, scale: f32) -> Vec<u8> {
    match to {
        DType::Bf16 => bytes_of(values, |x| bf16::from_f32(x).to_le_bytes()),
        DType::E4m3 => bytes_of(values, |x| [e4m3_from_f32(x / scale)]),
        // No weight of a graph is an integer: i64 initializers travel inside the graph.
        DType::F32 | DType::I64 => bytes_of(values, f32::to_le_bytes),
    }
}

/// The bytes of all values; written in place, as collecting byte by byte is ten times slower.
pub fn bytes_of<const N: usize>(
    values: impl ExactSizeIterator<Item = f32>,
    bytes: impl Fn(f32) -> [u8; N],
) -> Vec<u8> {
    let mut out = vec![0; values.len() * N];
    for (slot, x) in out.as_chunks_mut().0.iter_mut().zip(values) {
        *slot = bytes(x);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value of a code, by the format's definition.
    fn decode(code: u8) -> f32 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
        let magnitude = match exponent {
            0 => mantissa / 8.0 * 2.0f32.powi(-6),
            _ => (1.0 + mantissa / 8.0) * 2.0f32.powi(exponent - 7),
        };
        if code & 0x80 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn all_codes_survive_and_ties_go_to_even() {
        for code in (0..=0x7E).chain(0x80..=0xFE) {
            assert_eq!(e4m3_from_f32(decode(code)), code, "{code:#x}");
        }
        for code in 0..0x7E {
            let middle = f64::midpoint(decode(code).into(), decode(code + 1).into()) as f32;
            let even = code + (code & 1);
            for (x, expected) in [
                (middle, even),
                (f32::from_bits(middle.to_bits() - 1), code),
                (f32::from_bits(middle.to_bits() + 1), code + 1),
            ] {
                assert_eq!(e4m3_from_f32(x), expected, "{x}");
                assert_eq!(e4m3_from_f32(-x), expected | 0x80, "-{x}");
            }
        }
    }

    #[test]
    fn beyond_the_range_saturates_and_nan_stays() {
        for x in [448.1, 464.0, 1e30, f32::INFINITY] {
            assert_eq!((e4m3_from_f32(x), e4m3_from_f32(-x)), (0x7E, 0xFE), "{x}");
        }
        assert_eq!(e4m3_from_f32(f32::NAN) & 0x7F, 0x7F);
        assert_eq!((e4m3_from_f32(0.0), e4m3_from_f32(-0.0)), (0, 0x80));
        assert_eq!(e4m3_from_f32(f32::MIN_POSITIVE), 0);
    }

    #[test]
    fn casts_round_to_nearest_even() {
        let f32s = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
        // 1 + 2^-8 lies between two bf16 values, and so does 1 + 3·2^-8.
        let x = f32s(&[1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), -3.0]);
        let y = cast(x, StoredType::F32, DType::Bf16, 1.0).unwrap();
        let y: Vec<_> = pairs(&y).collect();
        assert_eq!(y, [0x3F80, 0x3F82, 0xC040]);
        let half = f16::from_f32(-0.125).to_le_bytes().to_vec();
        let y = cast(half, StoredType::F16, DType::F32, 1.0).unwrap();
        assert_eq!(y, (-0.125f32).to_le_bytes());
        let y = cast(f32s(&[6.0]), StoredType::F32, DType::E4m3, 2.0).unwrap();
        assert_eq!(y, [e4m3_from_f32(3.0)]);
        assert_eq!(cast(vec![0; 8], StoredType::Other("I64", 8), DType::F32, 1.0), None);
    }
}
