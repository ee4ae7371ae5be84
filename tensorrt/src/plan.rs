//! A built engine as bytes.

use std::{rc::Rc, slice};

use crate::{builder::Owner, result::Handle, sys};

/// A serialised engine, in TensorRT's memory.
pub struct Plan {
    handle: Handle<sys::Memory>,
    builder: Rc<Owner>,
}

impl Plan {
    pub(crate) fn new(handle: Handle<sys::Memory>, builder: &Rc<Owner>) -> Self {
        Self { handle, builder: builder.clone() }
    }
}

impl AsRef<[u8]> for Plan {
    fn as_ref(&self) -> &[u8] {
        let shim = self.builder.tensorrt.shim();
        // SAFETY: the memory is alive, constant, and borrowed with `self`.
        unsafe {
            let (data, size) =
                ((shim.memory_data)(self.handle.get()), (shim.memory_size)(self.handle.get()));
            if data.is_null() { &[] } else { slice::from_raw_parts(data.cast(), size) }
        }
    }
}
