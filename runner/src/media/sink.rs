//! Chooses how a result is written from the form of its path (spec C.6).

use std::path::{Path, PathBuf};

use image::RgbImage;

use super::encode::VideoWriter;
use super::error::MediaError;
use super::pictures::{FramesWriter, PngWriter, check_folder, parent};

/// The three kinds of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// `.mp4`: two frames or more.
    Video,
    /// `.png`: one frame.
    Picture,
    /// A path that ends in `/` or is a folder: any number of frames, one png each.
    Frames,
}

impl OutputKind {
    fn of(path: &Path) -> Result<Self, MediaError> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
            return Ok(Self::Frames);
        }
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("mp4") => Ok(Self::Video),
            Some("png") => Ok(Self::Picture),
            _ => Err(MediaError::OutputKind { path: path.into() }),
        }
    }

    fn check_frames(self, path: &Path, frames: usize) -> Result<(), MediaError> {
        let instead = match self {
            Self::Video if frames < 2 => "a path ending in .png for a single picture",
            Self::Picture if frames != 1 => "a path ending in .mp4, or in / for a folder of frames",
            _ => return Ok(()),
        };
        Err(MediaError::OutputFrames { path: path.into(), frames, instead })
    }
}

/// An output that is being written; its final name appears only at [`Sink::finish`].
pub struct Sink {
    path: PathBuf,
    writer: Writer,
    expected: usize,
    written: usize,
}

enum Writer {
    Video(Box<VideoWriter>),
    Picture(PngWriter),
    Frames(FramesWriter),
}

impl Sink {
    /// Says whether a result of `frames` frames could be written to `path`, leaving no trace.
    ///
    /// # Errors
    /// [`MediaError::OutputKind`], [`MediaError::OutputFrames`], [`MediaError::FolderNotEmpty`],
    /// [`MediaError::Write`] when the nearest existing folder takes no files.
    pub fn check(path: &Path, frames: usize) -> Result<OutputKind, MediaError> {
        let kind = OutputKind::of(path)?;
        kind.check_frames(path, frames)?;
        if kind == OutputKind::Frames {
            check_folder(path)?;
        }
        let folder = nearest_existing(parent(path));
        let tried = tempfile::Builder::new().prefix(".bernini-").tempfile_in(folder);
        tried.map_err(|source| MediaError::Write { path: path.into(), source })?;
        Ok(kind)
    }

    /// Starts an output of `frames` frames of `width` × `height` at `fps` frames per second.
    /// Missing folders are made.
    ///
    /// # Errors
    /// As [`Sink::check`], and those of the writers.
    pub fn create(
        path: &Path,
        frames: usize,
        (width, height): (u32, u32),
        fps: u32,
    ) -> Result<Self, MediaError> {
        let writer = match Self::check(path, frames)? {
            OutputKind::Video => {
                Writer::Video(Box::new(VideoWriter::create(path, width, height, fps)?))
            }
            OutputKind::Picture => Writer::Picture(PngWriter::create(path, width, height)?),
            OutputKind::Frames => Writer::Frames(FramesWriter::create(path, width, height)?),
        };
        Ok(Self { path: path.into(), writer, expected: frames, written: 0 })
    }

    /// Appends one frame.
    ///
    /// # Errors
    /// [`MediaError::FrameCount`] beyond the announced number, and those of the writers.
    pub fn write(&mut self, picture: &RgbImage) -> Result<(), MediaError> {
        self.written += 1;
        if self.written > self.expected {
            return Err(self.miscounted());
        }
        match &mut self.writer {
            Writer::Video(writer) => writer.write(picture),
            Writer::Picture(writer) => writer.write(picture),
            Writer::Frames(writer) => writer.write(picture),
        }
    }

    /// Completes the output and gives it its final name.
    ///
    /// # Errors
    /// [`MediaError::FrameCount`] if frames are missing, and those of the writers.
    pub fn finish(self) -> Result<(), MediaError> {
        if self.written != self.expected {
            return Err(self.miscounted());
        }
        match self.writer {
            Writer::Video(writer) => writer.finish(),
            Writer::Picture(writer) => writer.finish(),
            Writer::Frames(writer) => writer.finish(),
        }
    }

    fn miscounted(&self) -> MediaError {
        let (expected, found) = (self.expected, self.written);
        MediaError::FrameCount { path: self.path.clone(), expected, found }
    }
}

/// The first of `folder` and its ancestors that exists, so that nothing need be made to try it.
fn nearest_existing(folder: &Path) -> &Path {
    let exists = |folder: &&Path| !folder.as_os_str().is_empty() && folder.exists();
    folder.ancestors().find(exists).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
