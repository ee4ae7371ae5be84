//! Pixels to latents and back, chunk by chunk (spec F.3, C.4, C.6).

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::submodule::vae::{CACHE, FRAMES, LATENTS, NEXT};
use image::RgbImage;
use ndarray::{Array4, Array5, Axis, concatenate};
use rayon::prelude::*;

use crate::backend::{Backend, BackendError, Outputs, Session};
use crate::tensor::Tensor;

/// One half of the VAE: the graph of the first chunk, that of the others, and what they remember.
struct Causal {
    first: Box<dyn Session>,
    /// Absent where everything is pictures: a folder made for them need not have it.
    next: Option<Box<dyn Session>>,
    caches: Option<BTreeMap<String, Tensor>>,
}

impl Causal {
    fn load(
        backend: &dyn Backend,
        first: Submodule,
        next: Option<Submodule>,
    ) -> Result<Self, BackendError> {
        let first = backend.load(first)?;
        let next = next.map(|next| backend.load(next)).transpose()?;
        Ok(Self { first, next, caches: None })
    }

    /// Runs the next chunk of the sequence; what it gives beside caches is left in the outputs.
    fn run(&mut self, input: &str, chunk: Array5<f32>) -> Result<Outputs, BackendError> {
        let chunk = Tensor::from(chunk);
        let mut outputs = match &self.caches {
            None => self.first.run(&[(input, &chunk)])?,
            Some(caches) => {
                let named: Vec<_> =
                    caches.iter().map(|(name, cache)| (format!("{CACHE}{name}"), cache)).collect();
                let feed = named.iter().map(|(name, cache)| (name.as_str(), *cache));
                let next = self.next.as_mut().expect("invariant: loaded for clips");
                next.run(&feed.chain([(input, &chunk)]).collect::<Vec<_>>())?
            }
        };
        self.caches = Some(outputs.take_prefixed(NEXT));
        Ok(outputs)
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
    /// The chunk that a GPU may still be working on.
    running: Option<Outputs>,
    latents: Vec<Array4<f32>>,
}

impl VaeEncoder {
    /// Loads the encoder, of `clips` or of pictures alone; later chunks of a clip hold `chunk` frames
    /// (the VAE's temporal factor, 4).
    pub fn load(backend: &dyn Backend, chunk: usize, clips: bool) -> Result<Self, BackendError> {
        let next = clips.then_some(Submodule::VaeEncoderNext);
        let causal = Causal::load(backend, Submodule::VaeEncoderFirst, next)?;
        Ok(Self { causal, chunk, pending: vec![], running: None, latents: vec![] })
    }

    /// Takes the next frame of the clip; encodes as soon as a chunk is full.
    pub fn push(&mut self, frame: &RgbImage) -> Result<(), BackendError> {
        self.pending.push(to_unit(frame));
        let wanted = if self.causal.caches.is_none() { 1 } else { self.chunk };
        if self.pending.len() == wanted {
            let views: Vec<_> = self.pending.iter().map(|part| part.view()).collect();
            let frames = concatenate(Axis(1), &views).expect("invariant: frames of one size");
            self.pending.clear();
            self.collect()?;
            self.running = Some(self.causal.run(FRAMES, frames.insert_axis(Axis(0)))?);
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<(), BackendError> {
        if let Some(mut outputs) = self.running.take() {
            let latents: Array5<f32> = outputs.take_f32(LATENTS)?;
            self.latents.push(latents.index_axis_move(Axis(0), 0));
        }
        Ok(())
    }

    /// Ends the clip: normalised latents f32 `[z_dim, latent_frames, h/8, w/8]`.
    ///
    /// Frames that fill no chunk are dropped; clips of 1 + 4n frames leave none.
    pub fn finish(&mut self) -> Result<Array4<f32>, BackendError> {
        self.collect()?;
        self.causal.restart();
        self.pending.clear();
        let latents = std::mem::take(&mut self.latents);
        let views: Vec<_> = latents.iter().map(|part| part.view()).collect();
        Ok(concatenate(Axis(1), &views).unwrap_or_default())
    }
}

/// Decodes latents to frames.
pub struct VaeDecoder {
    causal: Causal,
}

impl VaeDecoder {
    /// Loads the decoder, of `clips` or of pictures alone.
    pub fn load(backend: &dyn Backend, clips: bool) -> Result<Self, BackendError> {
        let next = clips.then_some(Submodule::VaeDecoderNext);
        let causal = Causal::load(backend, Submodule::VaeDecoderFirst, next)?;
        Ok(Self { causal })
    }

    /// Decodes `latents` f32 `[z_dim, latent_frames, h, w]`, giving away each frame as it comes.
    /// While the frames of a chunk are handled, a GPU decodes the next one.
    pub fn decode<E: From<BackendError>>(
        &mut self,
        latents: &Array4<f32>,
        mut frame: impl FnMut(RgbImage) -> Result<(), E>,
    ) -> Result<(), E> {
        self.causal.restart();
        let mut chunks = latents.axis_chunks_iter(Axis(1), 1);
        let mut run = |causal: &mut Causal| {
            let chunk = chunks.next().map(|chunk| chunk.to_owned().insert_axis(Axis(0)));
            chunk.map(|chunk| causal.run(LATENTS, chunk)).transpose()
        };
        let mut running = run(&mut self.causal)?;
        while let Some(mut outputs) = running {
            let frames: Array5<f32> = outputs.take_f32(FRAMES)?;
            running = run(&mut self.causal)?;
            for picture in to_pictures(&frames) {
                frame(picture)?;
            }
        }
        self.causal.restart();
        Ok(())
    }
}

/// `[3, 1, h, w]` in −1..1: x/255, then (x − 0.5)/0.5 (spec C.1).
fn to_unit(frame: &RgbImage) -> Array4<f32> {
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    let levels: [f32; 256] = std::array::from_fn(|level| (level as f32 / 255.0 - 0.5) / 0.5);
    let mut unit = Array4::zeros((3, 1, h, w));
    for (channel, mut plane) in unit.outer_iter_mut().enumerate() {
        let pixels = frame.as_raw().chunks_exact(3);
        plane.iter_mut().zip(pixels).for_each(|(x, rgb)| *x = levels[usize::from(rgb[channel])]);
    }
    unit
}

/// The frames of `[1, 3, t, h, w]`: 255·(x/2 + 0.5) rounded half to even (spec K.6).
fn to_pictures(frames: &Array5<f32>) -> Vec<RgbImage> {
    let (_, _, t, h, w) = frames.dim();
    let frames = frames.as_standard_layout();
    let values = frames.as_slice().expect("invariant: standard layout");
    let level = |x: f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let picture = |frame: usize| {
        let mut pixels = vec![0; 3 * h * w];
        for channel in 0..3 {
            let plane = &values[(channel * t + frame) * h * w..][..h * w];
            let pixels = pixels.chunks_exact_mut(3).zip(plane);
            pixels.for_each(|(rgb, &x)| rgb[channel] = level(x));
        }
        RgbImage::from_raw(w as u32, h as u32, pixels).expect("invariant: three bytes a pixel")
    };
    (0..t).into_par_iter().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Package;
    use crate::request::{Plan, Request};

    /// A folder made for pictures: it holds what the first chunk needs.
    struct Pictures;

    impl Backend for Pictures {
        fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
            match submodule {
                Submodule::VaeEncoderFirst | Submodule::VaeDecoderFirst => Ok(Box::new(Idle)),
                submodule => Err(BackendError::MissingSubmodule { submodule }),
            }
        }

        fn check(&self, _: &Request, _: &Plan, _: &Package) -> Result<(), BackendError> {
            Ok(())
        }
    }

    struct Idle;

    impl Session for Idle {
        fn run(&mut self, _: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
            Ok(Outputs::new(Submodule::VaeDecoderFirst, BTreeMap::new()))
        }
    }

    #[test]
    fn pictures_need_no_graph_of_later_chunks() {
        assert!(VaeEncoder::load(&Pictures, 4, false).is_ok());
        assert!(VaeDecoder::load(&Pictures, false).is_ok());
        assert!(VaeEncoder::load(&Pictures, 4, true).is_err());
        assert!(VaeDecoder::load(&Pictures, true).is_err());
    }
}
