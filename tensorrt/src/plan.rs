//! A built engine as bytes.

/// A serialised engine, in TensorRT's memory.
pub struct Plan(());

impl AsRef<[u8]> for Plan {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}
