//! Bernini's submodules as typed graphs, and their ONNX files.
//!
//! A model is traced once by a [`GraphBuilder`] against the names and shapes of a checkpoint;
//! no weights, files or devices are involved.
//!
//! ```
//! use std::collections::BTreeMap;
//! use bernini_graphs::{DType, Dim, GraphBuilder, Precision};
//!
//! let checkpoint = BTreeMap::from([
//!     ("proj.weight".to_string(), vec![3, 5]),
//!     ("proj.bias".to_string(), vec![3]),
//! ]);
//! let g = GraphBuilder::new("demo", &checkpoint, Precision::F32);
//! let x = g.input("x", DType::F32, &[Dim::symbol("tokens"), 5.into()]);
//! g.output("y", g.root().linear("proj", x, 3), DType::F32);
//! let graph = g.finish().unwrap();
//! assert!(graph.listing().contains("proj/Add f32[tokens, 3]"));
//! ```

mod builder;
pub mod config;
mod dim;
mod dtype;
pub mod engines;
mod error;
mod graph;
pub mod manifest;
pub mod models;
pub mod nn;
mod onnx;
mod ops;
mod pattern;
mod precision;
mod scope;
mod sizes;
pub mod submodule;
pub mod taps;
mod value;
mod work;

pub use builder::{Checkpoint, GraphBuilder};
pub use dim::Dim;
pub use dtype::DType;
pub use error::{BuildError, BuildErrors};
pub use graph::{Attribute, Data, Graph, Initializer, Layout, Magnitudes, Node, Port, Weight};
pub use onnx::{
    DOMAIN, DOMAIN_VERSION, ExternalData, IR_VERSION, Layer, OPSET, OnnxFile, OnnxFileError,
};
pub use ops::{Conv3d, FP8_HEAD_DIM, concat, zeros};
pub use precision::{Fp8AttentionScales, Fp8Policy, Fp8Scales, Precision};
pub use scope::Scope;
pub use submodule::{Component, Submodule};
pub use taps::Taps;
pub use value::Value;
