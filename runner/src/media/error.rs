//! Everything that can be wrong with a picture, a clip or an output path.

use std::path::PathBuf;

/// Longest side, in pixels, of a picture or a video frame that we decode.
pub const MAX_SIDE: u32 = 16_384;
/// Most pixels of one picture or video frame that we decode.
pub const MAX_PIXELS: u64 = 64 << 20;
/// Most frames of one clip: an hour at 30 fps, with room to spare.
pub const MAX_FRAMES: usize = 120_000;

/// An input that cannot be read or an output that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file cannot be opened or is no regular file.
    #[error("{}: cannot be opened: {source}; check the path and its permissions", path.display())]
    Open {
        /// The input.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The header is that of no picture format we read.
    #[error("{}: expected a png, jpeg or webp picture, found {found}; convert it to png", path.display())]
    NotAnImage {
        /// The input.
        path: PathBuf,
        /// The format that was recognised, or "unknown bytes".
        found: String,
    },
    /// The picture's header is fine but its pixels cannot be decoded.
    #[error("{}: damaged picture: {source}; save it again as png", path.display())]
    CorruptImage {
        /// The input.
        path: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A picture or frame beyond [`MAX_SIDE`] or [`MAX_PIXELS`], or without pixels.
    #[error(
        "{}: {width}x{height} pixels; expected 1 to {MAX_SIDE} per side and at most {MAX_PIXELS} \
         in all; scale it down first",
        path.display()
    )]
    Size {
        /// The input.
        path: PathBuf,
        /// Width found.
        width: u32,
        /// Height found.
        height: u32,
    },
    /// FFmpeg recognises no container we read.
    #[error(
        "{}: not a video we read (mp4, mov, mkv, webm, avi, ts, gif): {source}; \
         convert it with `ffmpeg -i INPUT out.mp4`",
        path.display()
    )]
    NotAVideo {
        /// The input.
        path: PathBuf,
        /// What FFmpeg said.
        source: ffmpeg_next::Error,
    },
    /// The container holds sound or subtitles only.
    #[error("{}: holds no video stream; give a file with pictures in it", path.display())]
    NoVideoStream {
        /// The input.
        path: PathBuf,
    },
    /// The video stream ends before its first frame.
    #[error("{}: the video stream holds no frame; give a clip of at least one frame", path.display())]
    NoFrames {
        /// The input.
        path: PathBuf,
    },
    /// A packet or frame is damaged; the official reader refuses such clips too.
    #[error(
        "{}: damaged after {frames} frames: {reason}; repair it with \
         `ffmpeg -i INPUT -c:v libx264 out.mp4`",
        path.display()
    )]
    CorruptVideo {
        /// The input.
        path: PathBuf,
        /// Frames decoded before the damage.
        frames: usize,
        /// What FFmpeg said.
        reason: String,
    },
    /// The clip is longer than [`MAX_FRAMES`].
    #[error("{}: more than {MAX_FRAMES} frames; cut the clip first", path.display())]
    TooManyFrames {
        /// The input.
        path: PathBuf,
    },
    /// The stream states no usable average frame rate.
    #[error(
        "{}: average frame rate {found}; expected more than 0 and at most 1000 frames per second; \
         convert it with `ffmpeg -i INPUT -r 16 out.mp4`",
        path.display()
    )]
    FrameRate {
        /// The input.
        path: PathBuf,
        /// Numerator/denominator found.
        found: String,
    },
    /// A frame was asked for that the clip does not have.
    #[error("{}: frame {index} asked for, the clip has {frames}; probe the file again", path.display())]
    FrameIndex {
        /// The input.
        path: PathBuf,
        /// Index asked for, from 0.
        index: usize,
        /// Frames decoded.
        frames: usize,
    },
    /// The output path names no kind of output we write.
    #[error("{}: expected an output ending in .mp4, .png or / (a folder of frames)", path.display())]
    OutputKind {
        /// The output path.
        path: PathBuf,
    },
    /// The number of frames does not suit the kind of output.
    #[error("{}: {frames} frames cannot be written there; use {instead}", path.display())]
    OutputFrames {
        /// The output path.
        path: PathBuf,
        /// Frames that the run makes.
        frames: usize,
        /// The kind of path that fits.
        instead: &'static str,
    },
    /// The output folder exists and holds files.
    #[error("{}: the folder is not empty; empty it or name another", path.display())]
    FolderNotEmpty {
        /// The output folder.
        path: PathBuf,
    },
    /// The output, or a folder on its way, cannot be written.
    #[error("{}: cannot be written: {source}; choose another output path", path.display())]
    Write {
        /// The output path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The encoder cannot take these parameters.
    #[error(
        "{}: {width}x{height} at {fps} fps cannot be encoded; expected even sides of 16 to \
         {MAX_SIDE} and 1 to 240 fps",
        path.display()
    )]
    OutputParameters {
        /// The output path.
        path: PathBuf,
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
        /// Frames per second asked for.
        fps: u32,
    },
    /// A frame of another size than the output's.
    #[error(
        "{}: frame of {}x{}, expected {}x{}; this is a bug in bernini: report it",
        path.display(), found.0, found.1, expected.0, expected.1
    )]
    FrameSize {
        /// The output path.
        path: PathBuf,
        /// (width, height) of the output.
        expected: (u32, u32),
        /// (width, height) of the frame.
        found: (u32, u32),
    },
    /// More or fewer frames were written than announced.
    #[error("{}: {found} frames written, expected {expected}; this is a bug in bernini: report it", path.display())]
    FrameCount {
        /// The output path.
        path: PathBuf,
        /// Frames announced at creation.
        expected: usize,
        /// Frames written.
        found: usize,
    },
    /// FFmpeg cannot encode or mux.
    #[error(
        "{}: encoding failed: {source}; check the disk's free space and that FFmpeg has libx264",
        path.display()
    )]
    Encode {
        /// The output path.
        path: PathBuf,
        /// What FFmpeg said.
        source: ffmpeg_next::Error,
    },
    /// A picture cannot be written as png.
    #[error("{}: writing png failed: {source}; check the disk's free space", path.display())]
    EncodePng {
        /// The output path.
        path: PathBuf,
        /// What the encoder said.
        source: image::ImageError,
    },
}
