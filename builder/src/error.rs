//! Why a build failed.

use bernini_graphs::Submodule;

use crate::compiler::CompileError;
use crate::export::ExportError;
use crate::files::FileError;
use crate::store::StoreError;

/// Why there are no engines.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The export.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The engine folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that is to be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A submodule that the export does not have.
    #[error("{submodule} is not in the export, which has {known}; export it, or leave it out")]
    NotInExport {
        /// The submodule.
        submodule: Submodule,
        /// Those that it has.
        known: String,
    },
    /// A submodule that no workload runs.
    #[error("{workloads} does not run {submodule}; add a workload that does, or leave it out")]
    NotNeeded {
        /// The submodule.
        submodule: Submodule,
        /// The workloads.
        workloads: String,
    },
    /// A graph whose own operators nobody can run.
    #[error(
        "{submodule} has operators of the plugin, which is not there: make it with `./x plugin` and \
         set BERNINI_PLUGIN to libbernini_plugin.so, or put it beside this program"
    )]
    NoPlugin {
        /// The submodule.
        submodule: Submodule,
    },
    /// An export without any submodule that the workloads run.
    #[error("the export has no submodule that the workloads run; export the checkpoint again")]
    Nothing,
    /// A port whose shape has no value.
    #[error(
        "{submodule}: the shape {shape} of {port} has no value in terms of {known}; export the \
         checkpoint again"
    )]
    Shape {
        /// The submodule.
        submodule: Submodule,
        /// The port.
        port: String,
        /// Its shape.
        shape: String,
        /// Symbols of the profile.
        known: String,
    },
    /// Too little host memory for TensorRT's parser.
    #[error(
        "building {submodule} takes {needed} bytes of host memory, {available} are available; end \
         other programs, leave it out with --only, or use a machine with more memory"
    )]
    HostMemory {
        /// The submodule.
        submodule: Submodule,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// An engine was not built.
    #[error("building {submodule}: {source}")]
    Compile {
        /// The submodule.
        submodule: Submodule,
        /// Why.
        source: CompileError,
    },
    /// Ctrl-C.
    #[error(
        "interrupted; engines that were finished are kept, and the next build goes on from there"
    )]
    Interrupted,
}
