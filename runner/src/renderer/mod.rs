//! The renderer: contexts and sources in, latents out (spec B, G).

mod expert;
mod sources;

pub use expert::{Expert, ExpertContext, Noise};
pub use sources::{Source, SourceIds, Tokens};
