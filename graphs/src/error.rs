//! What can be wrong with a graph, collected while it is traced.

use std::collections::BTreeSet;
use std::panic::Location;

/// One mistake, with the place in the model and the line of code that made it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// The checkpoint lacks a tensor that the model needs.
    #[error("missing tensor {name}: expected shape {expected:?}")]
    MissingTensor {
        /// Name in the checkpoint, without the submodule's prefix.
        name: String,
        /// Shape that the model needs.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the model's configuration says.
    #[error("wrong shape of tensor {name}: expected {expected:?}, found {found:?}")]
    WrongShape {
        /// Name in the checkpoint, without the submodule's prefix.
        name: String,
        /// Shape that the model needs.
        expected: Vec<usize>,
        /// Shape in the checkpoint.
        found: Vec<usize>,
    },
    /// An operation was given operands that it does not take.
    #[error("{path}: {op} at {location}: expected {expected}, found {found}")]
    Operands {
        /// Scope in which the operation stands.
        path: String,
        /// Name of the operation.
        op: &'static str,
        /// Source line that made it.
        location: &'static Location<'static>,
        /// What the operation takes.
        expected: String,
        /// What it was given.
        found: String,
    },
}

/// Every independent mistake of one graph.
#[derive(Clone, Debug, thiserror::Error)]
#[error("graph {graph} has {} mistakes:\n{}", errors.len(), lines(errors))]
pub struct BuildErrors {
    /// Stem of the submodule.
    pub graph: String,
    /// The mistakes, in the order in which they were met.
    pub errors: Vec<BuildError>,
    /// Every tensor that the model asked for, found or not.
    pub requested: BTreeSet<String>,
}

fn lines(errors: &[BuildError]) -> String {
    errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}
