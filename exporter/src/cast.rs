//! Number formats: from what a checkpoint stores to what a graph computes with.

use bernini_calibration::e4m3;
use bernini_graphs::DType;
use half::{bf16, f16};

use crate::checkpoint::StoredType;

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
        DType::E4m3 => bytes_of(values, |x| [e4m3::encode(x / scale)]),
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
        assert_eq!(y, [0x44]);
        assert_eq!(cast(vec![0; 8], StoredType::Other("I64", 8), DType::F32, 1.0), None);
    }
}
