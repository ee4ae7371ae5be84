//! Why two folders cannot be compared.

use std::path::PathBuf;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::Variant;

use crate::backend::BackendError;
use crate::pipeline::RunError;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A full package and a renderer-only one.
    #[error(
        "A is of the {a:?} package and B of the {b:?} one; compare two folders of one checkpoint"
    )]
    Variants {
        /// Variant of A.
        a: Variant,
        /// Variant of B.
        b: Variant,
    },
    /// Nothing that both folders have.
    #[error("the folders share no submodule that these sizes run; export or build the same ones")]
    NothingInCommon,
    /// Sizes that an engine was not built for.
    #[error(
        "{side}: {submodule} has no profile for {sizes}; choose a --workload or a case that both \
         folders were built for, or build the engine for it"
    )]
    Profile {
        /// `A` or `B`.
        side: &'static str,
        /// Which engine.
        submodule: Submodule,
        /// The sizes, such as `context=512 tokens=16`.
        sizes: String,
    },
    /// Two graphs of one submodule with other ports or sizes.
    #[error(
        "{submodule}: port {port}: A has {a}, B has {b}; compare exports of one model, made by one \
         version of this program"
    )]
    Contract {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the port.
        port: String,
        /// Type and shape in A.
        a: String,
        /// Type and shape in B.
        b: String,
    },
    /// Results of one request that have different shapes.
    #[error("{what}: A has {a:?}, B has {b:?}; compare two folders of one model")]
    Shapes {
        /// What was compared.
        what: String,
        /// Shape in A.
        a: Vec<usize>,
        /// Shape in B.
        b: Vec<usize>,
    },
    /// A file that could not be read or written.
    #[error("{side}: {}: {source}; frames go to TMPDIR, which needs room for them", path.display())]
    Io {
        /// `A` or `B`.
        side: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A submodule that did not run.
    #[error("{side}: {source}")]
    Backend {
        /// `A` or `B`.
        side: &'static str,
        /// The reason.
        source: BackendError,
    },
    /// A run of the pipeline that ended early.
    #[error("{side}: {source}")]
    Run {
        /// `A` or `B`.
        side: &'static str,
        /// The reason.
        source: Box<RunError>,
    },
}
