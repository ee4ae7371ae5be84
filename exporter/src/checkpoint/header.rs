//! The header of a safetensors file, checked before anything in it is believed.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::os::unix::fs::FileExt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::error::HeaderError;

/// Longest header that is read: the limit of the safetensors library.
const MAX_HEADER: u64 = 100_000_000;
/// Types of the format that hold no weights of ours, with their sizes in bytes.
const OTHER: [(&str, u64); 12] = [
    ("F64", 8),
    ("I64", 8),
    ("U64", 8),
    ("I32", 4),
    ("U32", 4),
    ("I16", 2),
    ("U16", 2),
    ("I8", 1),
    ("U8", 1),
    ("BOOL", 1),
    ("F8_E4M3", 1),
    ("F8_E5M2", 1),
];

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoredType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// Brain float.
    Bf16,
    /// A type that no weight of ours has: its name and size in bytes.
    Other(&'static str, u64),
}

impl StoredType {
    /// The type that safetensors calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            _ => OTHER.iter().find(|(n, _)| *n == name).map(|&(n, b)| Self::Other(n, b))?,
        })
    }

    /// Size of one element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(_, bytes) => bytes,
        }
    }

    /// Name in safetensors.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Other(name, _) => name,
        }
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: StoredType,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// Position of the first byte in the file.
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// All entries in file order; a map would drop names that stand twice.
struct RawHeader(Vec<(String, RawEntry)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut entries = vec![];
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<BTreeMap<String, String>>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(RawHeader(entries))
            }
        }
        d.deserialize_map(Entries)
    }
}

/// A checked header.
pub struct Header {
    /// The header as it stands in the file.
    pub bytes: Vec<u8>,
    /// The tensors by position.
    pub entries: Vec<Entry>,
}

/// Reads the header of a file of `size` bytes. The outer error is the operating system's.
pub fn read(file: &std::fs::File, size: u64) -> std::io::Result<Result<Header, HeaderError>> {
    let Some(available) = size.checked_sub(8) else {
        return Ok(Err(HeaderError::TooShort { found: size }));
    };
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0)?;
    let (found, limit) = (u64::from_le_bytes(length), available.min(MAX_HEADER));
    if !(2..=limit).contains(&found) {
        return Ok(Err(HeaderError::Length { limit, found }));
    }
    let mut bytes = vec![0; found as usize];
    file.read_exact_at(&mut bytes, 8)?;
    Ok(parse(&bytes, available - found).map(|entries| Header { bytes, entries }))
}

/// Checks a header in front of `data` bytes.
fn parse(header: &[u8], data: u64) -> Result<Vec<Entry>, HeaderError> {
    let raw: RawHeader = serde_json::from_slice(header)
        .map_err(|error| HeaderError::Json { reason: error.to_string() })?;
    let mut names = HashSet::new();
    if let Some((name, _)) = raw.0.iter().find(|(name, _)| !names.insert(name.as_str())) {
        return Err(HeaderError::DuplicateName { name: name.clone() });
    }
    let start = 8 + header.len() as u64;
    let mut entries =
        raw.0.into_iter().map(|(name, raw)| entry(name, raw)).collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| (entry.offset, entry.bytes));
    check_places(&entries, data)?;
    entries.iter_mut().for_each(|entry| entry.offset += start);
    Ok(entries)
}

/// One entry whose size agrees with its offsets; the offset still counts from the data.
fn entry(name: String, raw: RawEntry) -> Result<Entry, HeaderError> {
    let [begin, end] = raw.data_offsets;
    let Some(dtype) = StoredType::from_name(&raw.dtype) else {
        return Err(HeaderError::UnknownDType { name, found: raw.dtype });
    };
    let bytes = raw.shape.iter().try_fold(dtype.bytes(), |n, &size| n.checked_mul(size));
    let shape = raw.shape.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
    let (Some(expected), Some(shape)) = (bytes, shape) else {
        return Err(HeaderError::ShapeOverflow { name, shape: raw.shape });
    };
    let Some(found) = end.checked_sub(begin) else {
        return Err(HeaderError::ReversedOffsets { name, begin, end });
    };
    if found != expected {
        return Err(HeaderError::SizeMismatch { name, expected, found });
    }
    Ok(Entry { name, dtype, shape, offset: begin, bytes: found })
}

/// Tensors must follow each other without gap and fill the data exactly.
fn check_places(entries: &[Entry], data: u64) -> Result<(), HeaderError> {
    let mut end = 0;
    for (i, entry) in entries.iter().enumerate() {
        if entry.offset < end {
            let (first, second) = (entries[i - 1].name.clone(), entry.name.clone());
            return Err(HeaderError::Overlap { first, second });
        }
        if entry.offset > end {
            let (name, found) = (entry.name.clone(), entry.offset);
            return Err(HeaderError::Gap { name, expected: end, found });
        }
        end = entry.offset + entry.bytes;
    }
    match end.cmp(&data) {
        std::cmp::Ordering::Greater => Err(HeaderError::Truncated { expected: end, found: data }),
        std::cmp::Ordering::Less => Err(HeaderError::TrailingData { expected: end, found: data }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    }

    fn parse_all(tensors: &[String], data: u64) -> Result<Vec<Entry>, HeaderError> {
        parse(format!("{{{}}}", tensors.join(",")).as_bytes(), data)
    }

    #[test]
    fn a_true_header_is_read_in_file_order() {
        let tensors = [
            r#""__metadata__":{"format":"pt"}"#.to_string(),
            tensor("b", "BF16", "[3,5]", 4, 34),
            tensor("a", "F32", "[]", 0, 4),
            tensor("empty", "F16", "[0,7]", 34, 34),
        ];
        let entries = parse_all(&tensors, 34).unwrap();
        let names: Vec<_> = entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "empty"]);
        assert_eq!(entries[1].shape, [3, 5]);
        assert_eq!(entries[1].offset - entries[0].offset, 4);
    }

    #[test]
    fn every_lie_has_its_own_name() {
        let a = tensor("a", "F32", "[2]", 0, 8);
        let cases: [(&[String], u64, &str); 10] = [
            (&[a.clone(), a.clone()], 8, "DuplicateName"),
            (&[tensor("a", "F31", "[2]", 0, 8)], 8, "UnknownDType"),
            (&[tensor("a", "F32", "[4294967296,4294967296]", 0, 8)], 8, "ShapeOverflow"),
            (&[tensor("a", "F32", "[2]", 8, 0)], 8, "ReversedOffsets"),
            (&[tensor("a", "F32", "[3]", 0, 8)], 8, "SizeMismatch"),
            (&[a.clone(), tensor("b", "F32", "[2]", 4, 12)], 12, "Overlap"),
            (&[a.clone(), tensor("b", "F32", "[2]", 12, 20)], 20, "Gap"),
            (&[tensor("a", "F32", "[2]", 4, 12)], 12, "Gap"),
            (std::slice::from_ref(&a), 7, "Truncated"),
            (std::slice::from_ref(&a), 9, "TrailingData"),
        ];
        for (tensors, data, expected) in cases {
            let error = format!("{:?}", parse_all(tensors, data).unwrap_err());
            assert!(error.starts_with(expected), "{error} for {expected}");
        }
    }

    #[test]
    fn what_is_no_header_is_a_json_error() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        let cases = [
            "",
            "[]",
            "{",
            "\u{0}",
            &deep,
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#,
            r#"{"a":{"dtype":"F32","shape":[1e30],"data_offsets":[0,4]}}"#,
            r#"{"__metadata__":{"a":{"b":1}}}"#,
            r#"{"a":{"dtype":"F32","shape":[1]}}"#,
        ];
        for text in cases {
            let error = parse(text.as_bytes(), 4).unwrap_err();
            assert!(matches!(error, HeaderError::Json { .. }), "{error}");
        }
    }
}
