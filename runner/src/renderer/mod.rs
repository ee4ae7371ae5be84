//! The renderer: contexts and sources in, latents out (spec B, G).

mod contexts;
mod expert;
mod sources;

pub use contexts::{Contexts, padded};
pub use expert::{Expert, ExpertContext, Noise};
pub(crate) use sources::members;
pub use sources::{Source, SourceIds, Tokens};
