//! Calls through the shim's table: owned objects, texts, shapes and errors.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr::NonNull,
    slice,
};

use crate::{DataType, Error, library::TensorRt, sys};

/// Owns an object of the shim; destroyed on drop.
///
/// In every struct it stands before what the object points to, since fields drop in order.
pub(crate) struct Handle<T> {
    object: NonNull<T>,
    destroy: sys::Destroy<T>,
}

impl<T> Handle<T> {
    /// Takes a new object; `None` if it is null.
    ///
    /// # Safety
    /// Nobody else owns `object`, and `destroy` is its destructor.
    pub(crate) unsafe fn new(object: *mut T, destroy: sys::Destroy<T>) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object, destroy })
    }

    pub(crate) fn get(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was promised ownership and the right destructor.
        unsafe { (self.destroy)(self.object.as_ptr()) };
    }
}

impl TensorRt {
    /// Makes a call; `None` becomes an error with what the shim and TensorRT's log said of it.
    pub(crate) fn call<T>(
        &self,
        call: &'static str,
        body: impl FnOnce(&sys::Shim, sys::Sink) -> Option<T>,
    ) -> Result<T, Error> {
        let mark = self.log().mark();
        let mut message = Vec::new();
        body(self.shim(), sink(&mut message)).ok_or_else(|| {
            let message = match String::from_utf8_lossy(&message).into_owned() {
                empty if empty.is_empty() => "refused".into(),
                message => message,
            };
            Error::TensorRt { call, message, log: self.log().since(mark) }
        })
    }
}

/// A sink that appends to `text`; valid as long as `text` is not moved or used otherwise.
pub(crate) fn sink(text: &mut Vec<u8>) -> sys::Sink {
    sys::Sink { user: (text as *mut Vec<u8>).cast(), write: append }
}

unsafe extern "C" fn append(user: *mut c_void, text: *const c_char, size: usize) {
    // SAFETY: `user` is the `Vec` of `sink`, alive during the call; the shim passes `size` bytes.
    let (out, text) =
        unsafe { (&mut *user.cast::<Vec<u8>>(), slice::from_raw_parts(text.cast(), size)) };
    out.extend_from_slice(text);
}

/// A name as TensorRT takes it.
pub(crate) fn c_name(name: &str) -> Result<CString, Error> {
    let what = "a name with a zero byte";
    CString::new(name).map_err(|_| Error::Argument { what, value: name.escape_debug().to_string() })
}

/// An index or level as TensorRT takes it.
pub(crate) fn c_index(index: usize) -> Result<i32, Error> {
    let what = "an index above i32";
    i32::try_from(index).map_err(|_| Error::Argument { what, value: index.to_string() })
}

impl sys::Dims {
    /// A shape as TensorRT takes it: rank 8 at most.
    pub(crate) fn new(shape: &[i64]) -> Result<Self, Error> {
        let mut dims = Self { rank: shape.len() as i32, ..Self::default() };
        let Some(sizes) = dims.sizes.get_mut(..shape.len()) else {
            return Err(Error::Argument { what: "a rank above 8", value: format!("{shape:?}") });
        };
        sizes.copy_from_slice(shape);
        Ok(dims)
    }

    /// The shape; `None` where there is none (rank -1).
    pub(crate) fn shape(&self) -> Option<Vec<i64>> {
        let rank = usize::try_from(self.rank).ok()?;
        self.sizes.get(..rank).map(<[i64]>::to_vec)
    }
}

/// A tensor's description, before the caller's kind of it.
pub(crate) struct Described {
    pub name: String,
    pub dtype: DataType,
    pub input: bool,
    pub host: bool,
    pub shape: Vec<i64>,
}

/// Reads one tensor with a function that fills in its description.
///
/// # Safety
/// If `fill` returns true, the name points to a C string that lives until this returns.
pub(crate) unsafe fn describe(
    fill: impl FnOnce(*mut sys::Tensor) -> bool,
) -> Result<Described, Error> {
    let mut tensor = sys::Tensor {
        name: c"".as_ptr(),
        dtype: -1,
        input: false,
        host: false,
        dims: sys::Dims::default(),
    };
    if !fill(&mut tensor) || tensor.name.is_null() {
        return Err(Error::Argument { what: "a tensor's index", value: "out of range".into() });
    }
    // SAFETY: promised by the caller.
    let name = unsafe { CStr::from_ptr(tensor.name) }.to_string_lossy().into_owned();
    let what = "a tensor of a type that this crate does not know";
    let dtype = DataType::from_tensorrt(tensor.dtype)
        .ok_or_else(|| Error::Argument { what, value: format!("{name}: {}", tensor.dtype) })?;
    let shape = tensor.dims.shape().unwrap_or_default();
    Ok(Described { name, dtype, input: tensor.input, host: tensor.host, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_rank_0_to_8_cross() {
        for shape in [&[][..], &[3], &[-1, 2, 7], &[1, 2, 3, 4, 5, 6, 7, 8]] {
            let dims = sys::Dims::new(shape).expect("a legal rank");
            assert_eq!(dims.shape().as_deref(), Some(shape));
        }
        assert!(sys::Dims::new(&[1; 9]).is_err());
        assert_eq!(sys::Dims { rank: -1, ..Default::default() }.shape(), None);
        assert_eq!(sys::Dims { rank: 9, ..Default::default() }.shape(), None);
    }

    #[test]
    fn names_with_a_zero_byte_are_refused() {
        assert!(c_name("a\0b").is_err());
        assert_eq!(c_name("ä/b").expect("legal").as_bytes(), "ä/b".as_bytes());
    }
}
