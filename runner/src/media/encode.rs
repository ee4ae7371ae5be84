//! Writes RGB frames as H.264 in mp4, frame by frame.

use std::fs::File;
use std::path::{Path, PathBuf};

use ffmpeg_next::format::context::{Output, StreamIo};
use ffmpeg_next::software::scaling;
use ffmpeg_next::{Dictionary, Error, Packet, Rational};
use ffmpeg_next::{codec, encoder, format, frame};
use image::RgbImage;
use tempfile::NamedTempFile;

use super::error::{MAX_SIDE, MediaError};
use super::ffmpeg;
use super::pictures::{expect_size, persist, temporary_file};

/// Visually lossless, and the usual choice for masters.
const CRF: &str = "18";

/// An mp4 being written under a temporary name beside its final one.
///
/// H.264, yuv420p (swscale's default BT.601, untagged, as `ffmpeg` does for RGB input), constant
/// frame rate. Dropping it without [`VideoWriter::finish`] leaves nothing behind.
pub struct VideoWriter {
    path: PathBuf,
    // Fields drop in order: the muxer flushes into the temporary file before that is removed.
    encoder: encoder::Video,
    output: Output,
    file: NamedTempFile,
    scaler: scaling::Context,
    time_base: Rational,
    size: (u32, u32),
    frames: usize,
}

impl VideoWriter {
    /// Starts an mp4 of `width` × `height` (both even, at least 16) at `fps` frames per second.
    /// An existing file at `path` is replaced by `finish`.
    ///
    /// # Errors
    /// [`MediaError::OutputParameters`], [`MediaError::Write`], [`MediaError::Encode`].
    pub fn create(path: &Path, width: u32, height: u32, fps: u32) -> Result<Self, MediaError> {
        let side_fits = |side: u32| (16..=MAX_SIDE).contains(&side) && side.is_multiple_of(2);
        if !side_fits(width) || !side_fits(height) || !(1..=240).contains(&fps) {
            return Err(MediaError::OutputParameters { path: path.into(), width, height, fps });
        }
        let file = temporary_file(path)?;
        let handle = file.as_file().try_clone();
        let handle = handle.map_err(|source| MediaError::Write { path: path.into(), source })?;
        let failed = |source| MediaError::Encode { path: path.into(), source };
        let time_base = Rational::new(1, fps as i32);
        let encoder = open_encoder(width, height, time_base).map_err(failed)?;
        let output = open_muxer(handle, &encoder, time_base).map_err(failed)?;
        let scaler = open_scaler(width, height).map_err(failed)?;
        let (path, size) = (path.into(), (width, height));
        Ok(Self { path, encoder, output, file, scaler, time_base, size, frames: 0 })
    }

    /// Appends one frame.
    ///
    /// # Errors
    /// [`MediaError::FrameSize`], [`MediaError::Encode`].
    pub fn write(&mut self, picture: &RgbImage) -> Result<(), MediaError> {
        expect_size(&self.path, self.size, picture)?;
        self.encode(picture)
            .map_err(|source| MediaError::Encode { path: self.path.clone(), source })
    }

    /// Completes the file, syncs it to disk and gives it its final name.
    ///
    /// # Errors
    /// [`MediaError::Encode`], [`MediaError::Write`].
    pub fn finish(mut self) -> Result<(), MediaError> {
        let completed = self.complete();
        completed.map_err(|source| MediaError::Encode { path: self.path.clone(), source })?;
        drop((self.encoder, self.output));
        persist(self.file, &self.path)
    }

    fn encode(&mut self, picture: &RgbImage) -> Result<(), Error> {
        let mut yuv = frame::Video::empty();
        self.scaler.run(&to_frame(picture), &mut yuv)?;
        yuv.set_pts(Some(self.frames as i64));
        self.frames += 1;
        self.encoder.send_frame(&yuv)?;
        self.drain()
    }

    fn complete(&mut self) -> Result<(), Error> {
        self.encoder.send_eof()?;
        self.drain()?;
        self.output.write_trailer()
    }

    /// Moves finished packets from the encoder to the file.
    fn drain(&mut self) -> Result<(), Error> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => self.mux(packet)?,
                Err(error) if error == ffmpeg::AGAIN || error == Error::Eof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn mux(&mut self, mut packet: Packet) -> Result<(), Error> {
        let stream = self.output.stream(0).ok_or(Error::StreamNotFound)?;
        // Without a duration mp4 marks the last packet as discarded and players lose a frame.
        packet.set_duration(1);
        packet.set_stream(0);
        packet.rescale_ts(self.time_base, stream.time_base());
        packet.write_interleaved(&mut self.output)
    }
}

fn open_encoder(width: u32, height: u32, time_base: Rational) -> Result<encoder::Video, Error> {
    ffmpeg::init()?;
    let codec = encoder::find_by_name("libx264").ok_or(Error::EncoderNotFound)?;
    let mut encoder = codec::Context::new_with_codec(codec).encoder().video()?;
    encoder.set_width(width);
    encoder.set_height(height);
    encoder.set_format(format::Pixel::YUV420P);
    encoder.set_time_base(time_base);
    encoder.set_frame_rate(Some(time_base.invert()));
    encoder.set_flags(codec::Flags::GLOBAL_HEADER);
    let options = Dictionary::from_iter([("crf", CRF), ("preset", "medium")]);
    encoder.open_as_with(codec, options)
}

fn open_muxer(file: File, encoder: &encoder::Video, rate: Rational) -> Result<Output, Error> {
    let io = StreamIo::from_write_seek(file)?;
    let mut output = format::output_to_stream(io, None, Some("mp4"))?;
    let mut stream = output.add_stream_with(encoder)?;
    stream.set_time_base(rate);
    stream.set_avg_frame_rate(rate.invert());
    output.write_header()?;
    Ok(output)
}

fn open_scaler(width: u32, height: u32) -> Result<scaling::Context, Error> {
    let (rgb, yuv) = (format::Pixel::RGB24, format::Pixel::YUV420P);
    scaling::Context::get(rgb, width, height, yuv, width, height, scaling::Flags::BICUBIC)
}

fn to_frame(picture: &RgbImage) -> frame::Video {
    let (width, height) = picture.dimensions();
    let mut frame = frame::Video::new(format::Pixel::RGB24, width, height);
    let (stride, row_len) = (frame.stride(0), 3 * width as usize);
    let rows = frame.data_mut(0).chunks_exact_mut(stride);
    for (to, from) in rows.zip(picture.chunks_exact(row_len)) {
        to[..row_len].copy_from_slice(from);
    }
    frame
}
