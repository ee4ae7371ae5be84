//! Pictures and clips: from files to RGB frames at the sizes and times the model wants, and back.
//!
//! In: [`probe`] decodes a clip once and counts its frames; [`Sampling::frame_indices`] turns the
//! count and rate into indices; [`visit_frames`] decodes again and hands over only those frames,
//! so memory holds what the caller keeps. [`load_image`] loads a picture. [`vae_size`] and
//! [`resize_bicubic`] bring either to its VAE size, [`vit_frame`] and [`vit_patches`] into the
//! vision tower.
//!
//! Out: [`Sink::check`] judges an output path before any work is done; [`Sink::create`] opens an
//! mp4, a png or a folder of frames under a temporary name; [`Sink::finish`] gives it its final
//! name, so nothing half-written is ever seen there.

mod background;
mod decode;
mod encode;
mod error;
mod ffmpeg;
mod image;
mod pictures;
mod resize;
mod rgb;
mod rules;
mod sink;
mod vit;

pub use background::BackgroundSink;
pub use decode::{VideoInfo, probe, read_frames, visit_frames};
pub use encode::VideoWriter;
pub use error::{MAX_FRAMES, MAX_PIXELS, MAX_SIDE, MediaError};
pub use ffmpeg::ffmpeg_versions;
pub use image::load_image;
pub use pictures::{FramesWriter, PngWriter};
pub use resize::resize_bicubic;
pub use rules::{Sampling, latent_frames, output_frames, vae_size};
pub use sink::{OutputKind, Sink};
pub use vit::{VitError, vit_frame, vit_patches, vit_size};
