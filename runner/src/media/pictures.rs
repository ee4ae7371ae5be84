//! Writes png: one picture, or a folder of frames. Final names appear only when all is written.

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Error, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};
use tempfile::{Builder, NamedTempFile, TempDir};

use super::error::MediaError;

/// One png being written under a temporary name beside its final one.
pub struct PngWriter {
    path: PathBuf,
    file: NamedTempFile,
    size: (u32, u32),
}

impl PngWriter {
    /// Starts a png of `width` × `height`; an existing file at `path` is replaced by `finish`.
    ///
    /// # Errors
    /// [`MediaError::Write`].
    pub fn create(path: &Path, width: u32, height: u32) -> Result<Self, MediaError> {
        Ok(Self { path: path.into(), file: temporary_file(path)?, size: (width, height) })
    }

    /// Writes the picture.
    ///
    /// # Errors
    /// [`MediaError::FrameSize`], [`MediaError::EncodePng`].
    pub fn write(&mut self, picture: &RgbImage) -> Result<(), MediaError> {
        expect_size(&self.path, self.size, picture)?;
        write_png(self.file.as_file(), &self.path, picture)
    }

    /// Syncs the file to disk and gives it its final name.
    ///
    /// # Errors
    /// [`MediaError::Write`].
    pub fn finish(self) -> Result<(), MediaError> {
        persist(self.file, &self.path)
    }
}

/// A folder of frames `00000.png`, `00001.png`, ... being written under a temporary name.
pub struct FramesWriter {
    path: PathBuf,
    folder: TempDir,
    size: (u32, u32),
    frames: usize,
}

impl FramesWriter {
    /// Starts a folder of frames of `width` × `height`; `path` must be absent or an empty folder.
    ///
    /// # Errors
    /// [`MediaError::FolderNotEmpty`], [`MediaError::Write`].
    pub fn create(path: &Path, width: u32, height: u32) -> Result<Self, MediaError> {
        check_folder(path)?;
        let parent = make_parent(path)?;
        let folder = Builder::new()
            .prefix(".bernini-")
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(parent)
            .map_err(|source| MediaError::Write { path: path.into(), source })?;
        Ok(Self { path: path.into(), folder, size: (width, height), frames: 0 })
    }

    /// Appends one frame.
    ///
    /// # Errors
    /// [`MediaError::FrameSize`], [`MediaError::EncodePng`], [`MediaError::Write`].
    pub fn write(&mut self, picture: &RgbImage) -> Result<(), MediaError> {
        expect_size(&self.path, self.size, picture)?;
        let failed = |source| MediaError::Write { path: self.path.clone(), source };
        let name = self.folder.path().join(format!("{:05}.png", self.frames));
        let file = File::create_new(name).map_err(failed)?;
        write_png(&file, &self.path, picture)?;
        file.sync_all().map_err(failed)?;
        self.frames += 1;
        Ok(())
    }

    /// Gives the folder its final name.
    ///
    /// # Errors
    /// [`MediaError::Write`]; also when someone filled the folder in the meantime.
    pub fn finish(self) -> Result<(), MediaError> {
        let failed = |source| MediaError::Write { path: self.path.clone(), source };
        fs::rename(self.folder.path(), &self.path).map_err(failed)?;
        let _gone = self.folder.keep();
        sync_parent(&self.path)
    }
}

/// Refuses an existing folder that holds anything, and anything else that is no folder.
pub(super) fn check_folder(path: &Path) -> Result<(), MediaError> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(MediaError::FolderNotEmpty { path: path.into() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(MediaError::Write { path: path.into(), source }),
    }
}

/// The folder that holds `path`, which may be relative.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn make_parent(path: &Path) -> Result<&Path, MediaError> {
    let parent = parent(path);
    let made = fs::create_dir_all(parent);
    made.map_err(|source| MediaError::Write { path: path.into(), source })?;
    Ok(parent)
}

/// An empty file beside `path` that vanishes when dropped; missing folders are made.
pub(super) fn temporary_file(path: &Path) -> Result<NamedTempFile, MediaError> {
    let folder = make_parent(path)?;
    let mut builder = Builder::new();
    // The umask applies to these, as to any other output file.
    let builder = builder.prefix(".bernini-").permissions(Permissions::from_mode(0o666));
    let file = builder.tempfile_in(folder);
    file.map_err(|source| MediaError::Write { path: path.into(), source })
}

/// Syncs a temporary file and renames it to `path`.
pub(super) fn persist(file: NamedTempFile, path: &Path) -> Result<(), MediaError> {
    let synced = file.as_file().sync_all();
    let renamed = synced.and_then(|()| file.persist(path).map_err(|error| error.error));
    renamed.map_err(|source| MediaError::Write { path: path.into(), source })?;
    sync_parent(path)
}

/// Makes a rename durable.
fn sync_parent(path: &Path) -> Result<(), MediaError> {
    let synced = File::open(parent(path)).and_then(|folder| folder.sync_all());
    synced.map_err(|source| MediaError::Write { path: path.into(), source })
}

/// Refuses a frame of another size than the output's.
pub(super) fn expect_size(
    path: &Path,
    expected: (u32, u32),
    picture: &RgbImage,
) -> Result<(), MediaError> {
    let found = picture.dimensions();
    if found == expected {
        return Ok(());
    }
    Err(MediaError::FrameSize { path: path.into(), expected, found })
}

fn write_png(file: &File, path: &Path, picture: &RgbImage) -> Result<(), MediaError> {
    let mut writer = BufWriter::new(file);
    let (width, height) = picture.dimensions();
    let encoder = PngEncoder::new(&mut writer);
    let written = encoder.write_image(picture, width, height, ExtendedColorType::Rgb8);
    let written = written.and_then(|()| writer.flush().map_err(|e: Error| ImageError::IoError(e)));
    written.map_err(|source| MediaError::EncodePng { path: path.into(), source })
}
