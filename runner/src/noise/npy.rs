//! Noise injected from a file (`--noise FILE.npy`, design §6).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a noise file was refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NoiseError {
    #[error("cannot read noise file {file}: {source}; check the path given to --noise")]
    Io { file: PathBuf, source: std::io::Error },
    #[error(
        "{file} is not a NumPy file (magic \\x93NUMPY, version 1.0 to 3.0); \
         write it with numpy.save"
    )]
    NotNpy { file: PathBuf },
    #[error(
        "{file}: header is {found}, expected {expected}; \
         save a C-ordered float32 array of that shape"
    )]
    Header { file: PathBuf, expected: String, found: String },
    #[error("{file}: {found} bytes of values, expected {expected}; save the file again")]
    Size { file: PathBuf, expected: u64, found: u64 },
    #[error("{file}: value {index} is not finite; noise must be finite float32")]
    NotFinite { file: PathBuf, index: usize },
}

/// Reads noise f32 `[1,16,T,h,w]` (channel-first, C order) and checks it against `shape`.
///
/// # Errors
/// Any difference from the header that `numpy.save` writes for that shape, a file that is
/// shorter or longer than its shape, and values that are not finite.
pub fn read_noise(path: &Path, shape: [usize; 5]) -> Result<Vec<f32>, NoiseError> {
    let io = |source| NoiseError::Io { file: path.into(), source };
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let header = read_header(&mut file).map_err(io)?;
    let header = header.ok_or_else(|| NoiseError::NotNpy { file: path.into() })?;
    check_header(path, &header.text, shape)?;
    let expected = shape.iter().product::<usize>() as u64 * 4;
    let found = length.saturating_sub(header.end);
    if found != expected {
        return Err(NoiseError::Size { file: path.into(), expected, found });
    }
    let mut bytes = Vec::with_capacity(expected as usize);
    file.take(expected).read_to_end(&mut bytes).map_err(io)?;
    finite_values(path, &bytes)
}

struct Header {
    text: String,
    end: u64,
}

/// None when the file does not begin as a NumPy file.
fn read_header(file: &mut File) -> std::io::Result<Option<Header>> {
    // numpy pads a header to 64 bytes; one that describes five axes never needs more than this.
    const LONGEST: u32 = 4096;
    let mut start = Vec::new();
    file.take(10).read_to_end(&mut start)?;
    let [0x93, b'N', b'U', b'M', b'P', b'Y', version @ 1..=3, 0, low, high] = start[..] else {
        return Ok(None);
    };
    let mut length = u32::from(u16::from_le_bytes([low, high]));
    if version > 1 {
        let mut upper = [0; 2];
        file.read_exact(&mut upper)?;
        length |= u32::from(u16::from_le_bytes(upper)) << 16;
    }
    if length > LONGEST {
        return Ok(None);
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    let end = u64::from(length) + if version > 1 { 12 } else { 10 };
    Ok(Some(Header { text: String::from_utf8_lossy(&text).trim().to_owned(), end }))
}

/// The shape is known, so the header is compared rather than parsed.
fn check_header(path: &Path, found: &str, shape: [usize; 5]) -> Result<(), NoiseError> {
    let axes = shape.map(|n| n.to_string()).join(", ");
    let expected = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes}), }}");
    let squeeze = |text: &str| text.replace(" ", "").replace(",}", "}").replace(",)", ")");
    if squeeze(found) == squeeze(&expected) {
        return Ok(());
    }
    let found = found.chars().take(200).collect();
    Err(NoiseError::Header { file: path.into(), expected, found })
}

fn finite_values(path: &Path, bytes: &[u8]) -> Result<Vec<f32>, NoiseError> {
    let (words, _) = bytes.as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(NoiseError::NotFinite { file: path.into(), index }),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;

    const SHAPE: [usize; 5] = [1, 16, 1, 2, 3];

    fn npy(values: &[f32], shape: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<f32>, NoiseError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("noise.npy");
        std::fs::write(&path, bytes).unwrap();
        read_noise(&path, SHAPE)
    }

    fn values() -> Vec<f32> {
        (0..96).map(|i| i as f32 * 0.25 - 3.0).collect()
    }

    #[test]
    fn a_good_file_gives_its_values() {
        assert_eq!(read(&npy(&values(), &[1, 16, 1, 2, 3])).unwrap(), values());
    }

    #[test]
    fn another_shape_order_or_type_is_named() {
        let error = read(&npy(&values(), &[1, 16, 1, 3, 2])).unwrap_err().to_string();
        assert!(error.contains("(1, 16, 1, 2, 3)") && error.contains("1, 3, 2"), "{error}");
        let good = npy(&values(), &[1, 16, 1, 2, 3]);
        for (from, to) in [("'<f4'", "'<f8'"), ("False", "True ")] {
            let text = String::from_utf8_lossy(&good[10..128]).replace(from, to);
            let bad = [&good[..10], text.as_bytes(), &good[128..]].concat();
            assert!(matches!(read(&bad), Err(NoiseError::Header { .. })), "{to}");
        }
    }

    #[test]
    fn truncated_and_overlong_files_are_refused() {
        let good = npy(&values(), &[1, 16, 1, 2, 3]);
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(matches!(read(&[&good[..], b"x"].concat()), Err(NoiseError::Size { .. })));
    }

    #[test]
    fn a_header_that_claims_four_gigabytes_is_refused() {
        let huge = b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'";
        assert!(matches!(read(huge), Err(NoiseError::NotNpy { .. })));
    }

    #[test]
    fn values_must_be_finite() {
        let mut bad = values();
        bad[7] = f32::NAN;
        let error = read(&npy(&bad, &[1, 16, 1, 2, 3])).unwrap_err();
        assert!(matches!(error, NoiseError::NotFinite { index: 7, .. }));
    }
}
