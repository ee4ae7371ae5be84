//! Pixels to latents and back, chunk by chunk (spec F.3, C.4, C.6).

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::submodule::vae::{CACHE, FRAMES, LATENTS, NEXT};
use image::{Rgb, RgbImage};
use ndarray::{Array4, Array5, ArrayView3, Axis, Slice, concatenate};

use crate::backend::{Backend, BackendError, Session};
use crate::tensor::Tensor;

/// One half of the VAE: the graph of the first chunk, that of the others, and what they remember.
struct Causal {
    first: Box<dyn Session>,
    next: Box<dyn Session>,
    caches: Option<BTreeMap<String, Tensor>>,
}

impl Causal {
    fn load(
        backend: &dyn Backend,
        first: Submodule,
        next: Submodule,
    ) -> Result<Self, BackendError> {
        Ok(Self { first: backend.load(first)?, next: backend.load(next)?, caches: None })
    }

    /// Runs the next chunk of the sequence.
    fn run(
        &mut self,
        input: &str,
        chunk: Array5<f32>,
        output: &str,
    ) -> Result<Array5<f32>, BackendError> {
        let chunk = Tensor::from(chunk);
        let mut outputs = match &self.caches {
            None => self.first.run(&[(input, &chunk)])?,
            Some(caches) => {
                let named: Vec<_> =
                    caches.iter().map(|(name, cache)| (format!("{CACHE}{name}"), cache)).collect();
                let feed = named.iter().map(|(name, cache)| (name.as_str(), *cache));
                self.next.run(&feed.chain([(input, &chunk)]).collect::<Vec<_>>())?
            }
        };
        self.caches = Some(outputs.take_prefixed(NEXT));
        outputs.take_f32(output)
    }

    /// Forgets the sequence.
    fn restart(&mut self) {
        self.caches = None;
    }
}

/// Encodes one clip or image after another.
pub struct VaeEncoder {
    causal: Causal,
    chunk: usize,
    pending: Vec<Array4<f32>>,
    latents: Vec<Array4<f32>>,
}

impl VaeEncoder {
    /// Loads the encoder; later chunks hold `chunk` frames (the VAE's temporal factor, 4).
    pub fn load(backend: &dyn Backend, chunk: usize) -> Result<Self, BackendError> {
        let causal = Causal::load(backend, Submodule::VaeEncoderFirst, Submodule::VaeEncoderNext)?;
        Ok(Self { causal, chunk, pending: vec![], latents: vec![] })
    }

    /// Takes the next frame of the clip; encodes as soon as a chunk is full.
    pub fn push(&mut self, frame: &RgbImage) -> Result<(), BackendError> {
        self.pending.push(to_unit(frame));
        let wanted = if self.latents.is_empty() { 1 } else { self.chunk };
        if self.pending.len() == wanted {
            let views: Vec<_> = self.pending.iter().map(|part| part.view()).collect();
            let frames = concatenate(Axis(1), &views).expect("invariant: frames of one size");
            self.pending.clear();
            let latents = self.causal.run(FRAMES, frames.insert_axis(Axis(0)), LATENTS)?;
            self.latents.push(latents.index_axis_move(Axis(0), 0));
        }
        Ok(())
    }

    /// Ends the clip: normalised latents f32 `[z_dim, latent_frames, h/8, w/8]`.
    ///
    /// Frames that fill no chunk are dropped; clips of 1 + 4n frames leave none.
    pub fn finish(&mut self) -> Array4<f32> {
        self.causal.restart();
        self.pending.clear();
        let latents = std::mem::take(&mut self.latents);
        let views: Vec<_> = latents.iter().map(|part| part.view()).collect();
        concatenate(Axis(1), &views).unwrap_or_default()
    }
}

/// Decodes latents to frames.
pub struct VaeDecoder {
    causal: Causal,
}

impl VaeDecoder {
    /// Loads the decoder.
    pub fn load(backend: &dyn Backend) -> Result<Self, BackendError> {
        let causal = Causal::load(backend, Submodule::VaeDecoderFirst, Submodule::VaeDecoderNext)?;
        Ok(Self { causal })
    }

    /// Decodes `latents` f32 `[z_dim, latent_frames, h, w]`, giving away each frame as it comes.
    pub fn decode<E: From<BackendError>>(
        &mut self,
        latents: &Array4<f32>,
        mut frame: impl FnMut(RgbImage) -> Result<(), E>,
    ) -> Result<(), E> {
        self.causal.restart();
        for t in 0..latents.dim().1 {
            let chunk = latents.slice_axis(Axis(1), Slice::from(t..t + 1)).to_owned();
            let frames = self.causal.run(LATENTS, chunk.insert_axis(Axis(0)), FRAMES)?;
            for picture in frames.index_axis(Axis(0), 0).axis_iter(Axis(1)) {
                frame(to_picture(picture))?;
            }
        }
        self.causal.restart();
        Ok(())
    }
}

/// `[3, 1, h, w]` in −1..1: x/255, then (x − 0.5)/0.5 (spec C.1).
fn to_unit(frame: &RgbImage) -> Array4<f32> {
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    let pixels = frame.as_raw();
    Array4::from_shape_fn((3, 1, h, w), |(c, _, y, x)| {
        (f32::from(pixels[(y * w + x) * 3 + c]) / 255.0 - 0.5) / 0.5
    })
}

/// Rounds 255·(x/2 + 0.5) half to even (spec K.6).
fn to_picture(frame: ArrayView3<'_, f32>) -> RgbImage {
    let (_, h, w) = frame.dim();
    let level = |x: f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    RgbImage::from_fn(w as u32, h as u32, |x, y| {
        Rgb([0, 1, 2].map(|c| level(frame[[c, y as usize, x as usize]])))
    })
}
