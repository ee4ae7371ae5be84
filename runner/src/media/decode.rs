//! Decodes a clip in two passes: count the frames, then read the chosen ones (spec C.2, K.7).

use std::path::{Path, PathBuf};

use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::stream::{Disposition, Stream};
use ffmpeg_next::{Dictionary, Error, Packet, Rational};
use ffmpeg_next::{codec, decoder, format, frame, media};
use image::RgbImage;

use super::error::{MAX_FRAMES, MAX_PIXELS, MediaError};
use super::ffmpeg::{self, AGAIN};
use super::image::{check_size, open_file};
use super::rgb::{Orientation, RgbConverter};

/// Containers that FFmpeg may try. Playlists and the like are left out: they name other files.
const CONTAINERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,\
                          wav,mp3,flac,aac";

/// What a clip holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoInfo {
    /// Width of an upright frame, pixels.
    pub width: u32,
    /// Height of an upright frame, pixels.
    pub height: u32,
    /// Average frame rate, frames per second.
    pub fps: f64,
    /// Frames decoded.
    pub frames: usize,
}

/// Decodes the whole clip once, keeping nothing, and says what it holds.
///
/// # Errors
/// All input variants of [`MediaError`] that concern clips; the whole clip is searched for damage.
pub fn probe(path: &Path) -> Result<VideoInfo, MediaError> {
    let mut reader = Reader::open(path)?;
    let mut frame = frame::Video::empty();
    let mut size = None;
    while reader.next_frame(&mut frame)? {
        size.get_or_insert((frame.width(), frame.height()));
    }
    let size = size.ok_or_else(|| MediaError::NoFrames { path: path.into() })?;
    let (width, height) = reader.orientation.size(size);
    Ok(VideoInfo { width, height, fps: reader.fps, frames: reader.frames })
}

/// Calls `visit(position, frame)` for every position of `indices`, in the clip's order.
///
/// `indices` may repeat and need no order; frames are upright RGB of the first frame's size. Only
/// one frame is held at a time, and decoding ends at the largest index.
///
/// # Errors
/// As [`probe`], up to the last frame wanted, [`MediaError::FrameIndex`], and what `visit` gives,
/// which ends the decoding.
pub fn visit_frames<E: From<MediaError>>(
    path: &Path,
    indices: &[usize],
    mut visit: impl FnMut(usize, &RgbImage) -> Result<(), E>,
) -> Result<(), E> {
    let mut positions: Vec<usize> = (0..indices.len()).collect();
    positions.sort_by_key(|position| indices[*position]);
    let mut reader = Reader::open(path)?;
    let mut converter = None;
    let mut frame = frame::Video::empty();
    for group in positions.chunk_by(|a, b| indices[*a] == indices[*b]) {
        let index = indices[group[0]];
        while reader.frames <= index {
            if !reader.next_frame(&mut frame)? {
                let frames = reader.frames;
                return Err(MediaError::FrameIndex { path: path.into(), index, frames }.into());
            }
            converter.get_or_insert_with(|| RgbConverter::new((frame.width(), frame.height())));
        }
        let converter = converter.as_mut().expect("invariant: a frame was read");
        let picture = converter.convert(&frame).map_err(|error| reader.corrupt(&error))?;
        let picture = reader.orientation.apply(picture);
        group.iter().try_for_each(|position| visit(*position, &picture))?;
    }
    Ok(())
}

/// The frames of a clip at `indices`, in the order of `indices`; see [`visit_frames`].
///
/// # Errors
/// As [`visit_frames`].
pub fn read_frames(path: &Path, indices: &[usize]) -> Result<Vec<RgbImage>, MediaError> {
    let mut frames = vec![RgbImage::default(); indices.len()];
    visit_frames(path, indices, |position, frame| {
        frames[position].clone_from(frame);
        Ok::<_, MediaError>(())
    })?;
    Ok(frames)
}

/// A clip being decoded, strictly: damage that the demuxer or decoder reports is an error.
/// Container flags alone are not believed: joined transport streams carry false ones.
struct Reader {
    path: PathBuf,
    // Fields drop in order: the decoder goes before the container that it came from.
    decoder: decoder::Video,
    input: Input,
    stream: usize,
    orientation: Orientation,
    fps: f64,
    /// Frames decoded so far.
    frames: usize,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, MediaError> {
        let file = open_file(path)?;
        let not_a_video = |source| MediaError::NotAVideo { path: path.into(), source };
        ffmpeg::init().map_err(not_a_video)?;
        let input = open_container(file).map_err(not_a_video)?;
        let stream = find_stream(path, &input)?;
        let (index, orientation) = (stream.index(), Orientation::of(&stream));
        let fps = frame_rate(path, &stream)?;
        let decoder = open_decoder(&stream).map_err(not_a_video)?;
        if (decoder.width(), decoder.height()) != (0, 0) {
            check_size(path, decoder.width(), decoder.height())?;
        }
        Ok(Self { path: path.into(), decoder, input, stream: index, orientation, fps, frames: 0 })
    }

    /// Decodes the next frame into `frame`; false at the end of the clip.
    fn next_frame(&mut self, frame: &mut frame::Video) -> Result<bool, MediaError> {
        loop {
            match self.decoder.receive_frame(frame) {
                Ok(()) => return self.accept(frame).map(|()| true),
                Err(Error::Eof) => return Ok(false),
                Err(error) if error == AGAIN => self.feed()?,
                Err(error) => return Err(self.corrupt(&error)),
            }
        }
    }

    fn accept(&mut self, frame: &frame::Video) -> Result<(), MediaError> {
        if frame.is_corrupt() || frame.has_decode_errors() {
            return Err(self.corrupt("damaged picture data"));
        }
        check_size(&self.path, frame.width(), frame.height())?;
        self.frames += 1;
        if self.frames > MAX_FRAMES {
            return Err(MediaError::TooManyFrames { path: self.path.clone() });
        }
        Ok(())
    }

    /// Gives the decoder the stream's next packet, or the end of the stream.
    fn feed(&mut self) -> Result<(), MediaError> {
        loop {
            let mut packet = Packet::empty();
            let sent = match packet.read(&mut self.input) {
                Err(Error::Eof) => self.decoder.send_eof(),
                Err(error) => return Err(self.corrupt(&error)),
                Ok(()) if packet.stream() != self.stream || packet.size() == 0 => continue,
                Ok(()) => self.decoder.send_packet(&packet),
            };
            return sent.map_err(|error| self.corrupt(&error));
        }
    }

    fn corrupt(&self, reason: &(impl ToString + ?Sized)) -> MediaError {
        let (path, frames) = (self.path.clone(), self.frames);
        MediaError::CorruptVideo { path, frames, reason: reason.to_string() }
    }
}

/// Opens by handle, not by name: a name could be a URL to FFmpeg, or not UTF-8.
fn open_container(file: std::fs::File) -> Result<Input, Error> {
    let mut options = Dictionary::new();
    options.set("format_whitelist", CONTAINERS);
    options.set("protocol_whitelist", "none");
    format::input_from_stream(StreamIo::from_read_seek(file)?, None, Some(options))
}

fn find_stream<'a>(path: &Path, input: &'a Input) -> Result<Stream<'a>, MediaError> {
    let stream = input.streams().best(media::Type::Video);
    let is_cover = |stream: &Stream| stream.disposition().contains(Disposition::ATTACHED_PIC);
    stream
        .filter(|stream| !is_cover(stream))
        .ok_or_else(|| MediaError::NoVideoStream { path: path.into() })
}

fn frame_rate(path: &Path, stream: &Stream) -> Result<f64, MediaError> {
    let usable = |rate: &Rational| {
        let fps = f64::from(rate.numerator()) / f64::from(rate.denominator());
        fps.is_finite() && fps > 0.0 && fps <= 1000.0
    };
    let average = stream.avg_frame_rate();
    let rate = [average, stream.rate()].into_iter().find(usable);
    let found = format!("{}/{}", average.numerator(), average.denominator());
    rate.map(f64::from).ok_or_else(|| MediaError::FrameRate { path: path.into(), found })
}

fn open_decoder(stream: &Stream) -> Result<decoder::Video, Error> {
    let mut context = codec::Context::from_parameters(stream.parameters())?;
    context.set_threading(codec::threading::Config::kind(codec::threading::Type::Frame));
    let codec = decoder::find(context.id()).ok_or(Error::DecoderNotFound)?;
    let mut options = Dictionary::new();
    options.set("max_pixels", &MAX_PIXELS.to_string());
    context.decoder().open_as_with(codec, options)?.video()
}

#[cfg(test)]
mod tests;
