//! Everything that can go wrong, with TensorRT's own log lines.

use std::{
    fmt::{self, Display},
    path::PathBuf,
};

/// Why TensorRT or CUDA did not do what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This binary has no TensorRT shim.
    #[error(
        "this binary was built without TensorRT; build with --features shim and \
         TENSORRT_INCLUDE_DIR set to the folder of NvInfer.h"
    )]
    NotCompiled,
    /// The CUDA driver's library cannot be opened.
    #[error(
        "no CUDA driver: libcuda.so.1 cannot be opened; install NVIDIA's driver on a GPU machine"
    )]
    NoDriver,
    /// A CUDA driver call failed.
    #[error("CUDA: {call}: {message}")]
    Cuda {
        /// What was asked of the driver.
        call: String,
        /// The driver's own words.
        message: String,
    },
    /// The GPU has no room for an allocation.
    #[error(
        "out of GPU memory: {wanted} bytes wanted, {free} of {total} bytes free; \
         free memory or lower the limit given to this run"
    )]
    OutOfMemory {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes free then.
        free: usize,
        /// Bytes of the GPU.
        total: usize,
    },
    /// A TensorRT library was not found or could not be opened.
    #[error("cannot open {library}; tried {tried}; set TENSORRT_LIB_DIR to the folder of TensorRT's libraries", tried = Lines(tried, "; "))]
    Library {
        /// Name of the library.
        library: String,
        /// Each place that was tried, with the loader's answer.
        tried: Vec<String>,
    },
    /// A TensorRT library lacks a function that every supported version exports.
    #[error("{library} has no function {symbol}; install an unmodified TensorRT {major}")]
    Symbol {
        /// Path of the library.
        library: String,
        /// Name of the function.
        symbol: String,
        /// Major version that this binary wants.
        major: u32,
    },
    /// The library's major version is not the one of the headers that the shim was compiled with.
    #[error(
        "TensorRT {found} was found at {library}, but this binary was compiled for {expected}.x; \
         set TENSORRT_LIB_DIR to TensorRT {expected}.x or rebuild with headers of {found}"
    )]
    WrongMajor {
        /// Path of the library.
        library: String,
        /// The library's version.
        found: String,
        /// Major version of the headers.
        expected: u32,
    },
    /// TensorRT's builder lacks its kernels for this GPU.
    #[error(
        "TensorRT finds no builder resources for this GPU; put libnvinfer_builder_resource (all of \
         it, or the sm of this GPU) beside libnvinfer and their folder on LD_LIBRARY_PATH{log}",
        log = Log(log)
    )]
    BuilderResource {
        /// TensorRT's log lines of the call.
        log: Vec<String>,
    },
    /// Our plugin library cannot be read or loaded.
    #[error(
        "the plugin {}: {reason}; set BERNINI_PLUGIN to a libbernini_plugin.so that `./x plugin` \
         built with the headers of this TensorRT{log}",
        path.display(),
        log = Log(log)
    )]
    Plugin {
        /// The library.
        path: PathBuf,
        /// What went wrong.
        reason: String,
        /// TensorRT's log lines of the call.
        log: Vec<String>,
    },
    /// TensorRT refused a call.
    #[error("TensorRT: {call}: {message}{log}", log = Log(log))]
    TensorRt {
        /// What was asked.
        call: &'static str,
        /// What went wrong, in the shim's or TensorRT's words.
        message: String,
        /// TensorRT's log lines of the call.
        log: Vec<String>,
    },
    /// The progress callback asked for the build to stop.
    #[error("the build was cancelled")]
    Cancelled,
    /// A callback panicked while TensorRT called it.
    #[error("a {callback} callback panicked: {message}; this is a bug of the caller")]
    CallbackPanicked {
        /// Which callback.
        callback: &'static str,
        /// The panic's message.
        message: String,
    },
    /// A tensor of this name does not exist, or not on this side.
    #[error("no {side} tensor is called {name}; there are {known}", known = Lines(known, ", "))]
    UnknownTensor {
        /// `input`, `output` or `input or output`.
        side: &'static str,
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A shape is not complete: an input's shape was not set, or the size depends on data.
    #[error("the shape of {tensor} is not known: {shape:?}; set the shape of every input first")]
    UnknownShape {
        /// Name of the tensor.
        tensor: String,
        /// Its shape as far as known; -1 is unknown.
        shape: Vec<i64>,
    },
    /// A tensor or the activation memory has no buffer.
    #[error("{tensor} has no buffer; bind one before enqueue")]
    NotBound {
        /// Name of the tensor, or `activation memory`.
        tensor: String,
    },
    /// A buffer is too small for what it must hold.
    #[error(
        "{tensor} needs {needed} bytes, its buffer has {available} from the given offset; bind a larger buffer"
    )]
    BufferTooSmall {
        /// Name of the tensor, or `activation memory`.
        tensor: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// A tensor lives in host memory, which this crate does not bind.
    #[error("{tensor} is a host tensor (a shape computed from data); export it as a constant")]
    HostTensor {
        /// Name of the tensor.
        tensor: String,
    },
    /// A copy would leave a buffer.
    #[error(
        "{call}: bytes {offset}..{offset}+{bytes} leave a buffer of {len}; check offset and size"
    )]
    OutOfBounds {
        /// Which copy, and which of its sides.
        call: &'static str,
        /// First byte.
        offset: usize,
        /// Number of bytes.
        bytes: usize,
        /// Length of the buffer.
        len: usize,
    },
    /// An argument cannot be passed on: a name with a zero byte, a rank above 8, a path not UTF-8.
    #[error("{what} cannot be passed to TensorRT: {value}")]
    Argument {
        /// Which argument, and what it must be.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

struct Lines<'a>(&'a [String], &'static str);

impl Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.join(self.1))
    }
}

struct Log<'a>(&'a [String]);

impl Display for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
