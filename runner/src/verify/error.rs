//! Why two folders cannot be compared.

use std::path::PathBuf;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::{PrecisionName, Variant};

use crate::backend::BackendError;
use crate::pipeline::RunError;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A full package and a renderer-only one.
    #[error(
        "A is of the {a:?} package and {name} of the {b:?} one; compare folders of one checkpoint"
    )]
    Variants {
        /// Variant of A.
        a: Variant,
        /// Name of the other folder.
        name: String,
        /// Its variant.
        b: Variant,
    },
    /// A noise floor that is no valid stand-in for the reference.
    #[error(
        "--floor: expected a folder as exact as A ({a}) or in f32 or bf16, found {found}; FP8 is \
         what is judged: name it after A"
    )]
    Floor {
        /// Precision of A.
        a: PrecisionName,
        /// Precision of the floor.
        found: PrecisionName,
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
        /// `A`, or the other folder's name.
        side: String,
        /// Which engine.
        submodule: Submodule,
        /// The sizes, such as `context=512 tokens=16`.
        sizes: String,
    },
    /// Two graphs of one submodule with other ports or sizes.
    #[error(
        "{submodule}: port {port}: A has {a}, this one {b}; compare exports of one model, made by one \
         version of this program"
    )]
    Contract {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the port.
        port: String,
        /// Type and shape in A.
        a: String,
        /// Type and shape in the other.
        b: String,
    },
    /// Results of one request that have different shapes.
    #[error("{what}: A has {a:?}, this one {b:?}; compare folders of one model")]
    Shapes {
        /// What was compared.
        what: String,
        /// Shape in A.
        a: Vec<usize>,
        /// Shape in the other.
        b: Vec<usize>,
    },
    /// A file that could not be read or written.
    #[error("{side}: {}: {source}; frames go to TMPDIR, which needs room for them", path.display())]
    Io {
        /// `A`, or the other folder's name.
        side: String,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A submodule that did not run.
    #[error("{side}: {source}")]
    Backend {
        /// `A`, or the other folder's name.
        side: String,
        /// The reason.
        source: Box<BackendError>,
    },
    /// A run of the pipeline that ended early.
    #[error("{side}: {source}")]
    Run {
        /// `A`, or the other folder's name.
        side: String,
        /// The reason.
        source: Box<RunError>,
    },
}
