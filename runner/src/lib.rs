//! Runs the Bernini pipeline on exported graphs: prompts and pixels in, frames out.
//!
//! ```no_run
//! # use bernini_runner::{backend::OnnxRuntime, export::Export, pipeline::Pipeline};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let export = Export::open("export".as_ref())?;
//! let backend = OnnxRuntime::new(export.clone())?;
//! let pipeline = Pipeline::open(export, Box::new(backend))?;
//! # Ok(()) }
//! ```

pub mod backend;
pub mod bench;
pub mod calibrate;
pub mod case;
pub mod curves;
mod device;
pub mod engines;
pub mod enhancer;
pub mod export;
pub mod guidance;
mod inputs;
pub mod latents;
pub mod media;
pub mod memory;
pub mod noise;
pub mod package;
pub mod pipeline;
pub mod planner;
pub mod presets;
pub mod prompts;
pub mod renderer;
pub mod report;
pub mod request;
pub mod rope;
pub mod scheduler;
mod svg;
mod tensor;
pub mod text;
mod text_encoder;
mod vae;
pub mod verify;

pub use device::DeviceTensor;
pub use tensor::Tensor;
pub use text_encoder::{TextEncoder, TextEncoderError};
pub use vae::{VaeDecoder, VaeEncoder};
