//! What can break the contract between a checkpoint and its graphs.

use std::fmt;

use bernini_graphs::Component;
use serde::Serialize;

/// A tensor that breaks the contract. Names are the checkpoint's own, prefix included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Finding {
    /// None of the component's tensors is there.
    Absent {
        /// The component.
        component: &'static str,
    },
    /// A graph needs it and the checkpoint lacks it.
    Missing {
        /// Component that needs it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Shape that is needed.
        expected: Vec<usize>,
    },
    /// No graph reads it.
    Extra {
        /// Component in whose files it is; empty where its prefix is unknown.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Its shape is not the one that the configs imply.
    WrongShape {
        /// Component that reads it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Shape that is needed.
        expected: Vec<usize>,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Its type is not that of a weight.
    WrongType {
        /// Component that reads it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Its type in safetensors.
        found: &'static str,
    },
    /// Its graph cannot be built, whatever the tensors: a bug of ours.
    Graph {
        /// Component of the graph.
        component: &'static str,
        /// Place and operands.
        reason: String,
    },
    /// Two weights files would hold it.
    Shared {
        /// Component that reads it.
        component: &'static str,
        /// Name.
        tensor: String,
        /// Stems of the files.
        files: Vec<&'static str>,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { component } => {
                write!(
                    f,
                    "{component}: absent, with all its tensors; `export --only` leaves it out"
                )
            }
            Self::Missing { component, tensor, expected } => {
                write!(f, "{component}: tensor {tensor} is missing: expected shape {expected:?}")
            }
            Self::Extra { component: "", tensor, found } => {
                write!(f, "tensor {tensor} {found:?} has a prefix that no component has")
            }
            Self::Extra { component, tensor, found } => {
                write!(f, "{component}: tensor {tensor} {found:?} is extra: no graph reads it")
            }
            Self::WrongShape { component, tensor, expected, found } => {
                let shapes = format!("expected shape {expected:?}, found {found:?}");
                write!(f, "{component}: tensor {tensor}: {shapes}")
            }
            Self::WrongType { component, tensor, found } => {
                write!(f, "{component}: tensor {tensor}: expected F32, F16 or BF16, found {found}")
            }
            Self::Graph { component, reason } => {
                write!(f, "{component}: its graph cannot be built, please report this: {reason}")
            }
            Self::Shared { component, tensor, files } => {
                write!(f, "{component}: tensor {tensor} is used by {}", files.join(" and "))
            }
        }
    }
}

impl Finding {
    /// Component, empty where none is known, and name of the tensor.
    pub fn place(&self) -> (&'static str, &str) {
        match self {
            Self::Missing { component, tensor, .. }
            | Self::Extra { component, tensor, .. }
            | Self::WrongShape { component, tensor, .. }
            | Self::WrongType { component, tensor, .. }
            | Self::Shared { component, tensor, .. } => (component, tensor),
            Self::Absent { component } | Self::Graph { component, .. } => (component, ""),
        }
    }

    /// Whether it is about a component that `chosen` picks.
    pub(crate) fn concerns(&self, chosen: impl Fn(Component) -> bool) -> bool {
        let (component, _) = self.place();
        let mut all = Component::PLANNER.into_iter().chain(Component::RENDERER);
        all.any(|known| known.name() == component && chosen(known))
    }
}
