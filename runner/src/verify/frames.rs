//! Level C: the pictures of two runs that go their own way from equal noise.

use std::fs;
use std::path::{Path, PathBuf};

use bernini_calibration::error::{psnr, ssim};
use image::RgbImage;
use serde::Serialize;

use super::{Limit, VerifyError};
use crate::media::load_image;
use crate::pipeline::RunError;

/// The frames of both runs.
#[derive(Clone, Debug, Serialize)]
pub struct FramesReport {
    /// Every frame.
    pub frames: Vec<FrameReport>,
    /// The lowest PSNR in dB; `null` in JSON where all are equal.
    pub worst_psnr: f64,
    /// Mean of the frames' PSNR in dB; `null` in JSON where one is infinite.
    pub mean_psnr: f64,
    /// The lowest SSIM; none where frames are smaller than its window.
    pub worst_ssim: Option<f64>,
    /// Mean of the frames' SSIM.
    pub mean_ssim: Option<f64>,
    /// Whether every frame is within the limits.
    pub passed: bool,
    /// First, middle and last frame as png files, for the html report.
    #[serde(skip)]
    pub shown: Vec<(usize, Vec<u8>)>,
}

/// One frame.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FrameReport {
    /// Index from 0.
    pub frame: usize,
    /// PSNR in dB over all channels; infinite, in JSON `null`, where both are equal.
    pub psnr: f64,
    /// SSIM, 1 where both are equal; none below 11×11 pixels.
    pub ssim: Option<f64>,
    /// Whether it is within the limits.
    pub passed: bool,
}

/// Compares two folders of png frames, of A and of the one called `name`.
///
/// # Errors
/// [`VerifyError::Shapes`] where their number or size differs, and those of reading.
pub fn frames(a: &Path, name: &str, b: &Path, limit: &Limit) -> Result<FramesReport, VerifyError> {
    let (of_a, of_b) = (files("A", a)?, files(name, b)?);
    if of_a.len() != of_b.len() || of_a.is_empty() {
        let (a, b) = (vec![of_a.len()], vec![of_b.len()]);
        return Err(VerifyError::Shapes { what: "frames".into(), a, b });
    }
    let mut frames = vec![];
    for (index, (a, b)) in of_a.iter().zip(&of_b).enumerate() {
        frames.push(frame(index, &read("A", a)?, &read(name, b)?, limit)?);
    }
    Ok(summary(frames, shown(name, &of_b)?))
}

/// First, middle and last of `files`.
pub(super) fn shown(name: &str, files: &[PathBuf]) -> Result<Vec<(usize, Vec<u8>)>, VerifyError> {
    let last = files.len().saturating_sub(1);
    let mut shown: Vec<(usize, Vec<u8>)> = vec![];
    for index in [0, last / 2, last] {
        if let Some(path) = files.get(index)
            && shown.iter().all(|(known, _)| *known != index)
        {
            shown.push((index, fs::read(path).map_err(|source| io(name, path, source))?));
        }
    }
    Ok(shown)
}

fn summary(frames: Vec<FrameReport>, shown: Vec<(usize, Vec<u8>)>) -> FramesReport {
    let count = frames.len() as f64;
    let psnr = || frames.iter().map(|frame| frame.psnr);
    let ssim: Option<Vec<f64>> = frames.iter().map(|frame| frame.ssim).collect();
    FramesReport {
        worst_psnr: psnr().fold(f64::INFINITY, f64::min),
        mean_psnr: psnr().sum::<f64>() / count,
        worst_ssim: ssim.as_ref().and_then(|all| all.iter().copied().reduce(f64::min)),
        mean_ssim: ssim.map(|all| all.iter().sum::<f64>() / count),
        passed: frames.iter().all(|frame| frame.passed),
        frames,
        shown,
    }
}

fn frame(
    frame: usize,
    a: &RgbImage,
    b: &RgbImage,
    limit: &Limit,
) -> Result<FrameReport, VerifyError> {
    let sizes = || {
        let [a, b] =
            [a, b].map(|picture| vec![picture.height() as usize, picture.width() as usize]);
        VerifyError::Shapes { what: format!("frame {frame}"), a, b }
    };
    if a.dimensions() != b.dimensions() {
        return Err(sizes());
    }
    let shape = [a.height() as usize, a.width() as usize, 3];
    let [of_a, of_b] = [a, b].map(|picture| -> Vec<f32> {
        picture.as_raw().iter().map(|&value| f32::from(value)).collect()
    });
    let psnr = psnr(&of_a, &of_b, 255.0).map_err(|_| sizes())?;
    let ssim = ssim(&of_a, &of_b, shape, 255.0).ok();
    Ok(FrameReport { frame, psnr, ssim, passed: psnr >= limit.psnr })
}

/// The files of a folder in the order of their names.
pub(super) fn files(side: &str, folder: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let entries = fs::read_dir(folder).map_err(|source| io(side, folder, source))?;
    let mut files = entries
        .map(|entry| Ok(entry.map_err(|source| io(side, folder, source))?.path()))
        .collect::<Result<Vec<_>, VerifyError>>()?;
    files.sort();
    Ok(files)
}

fn read(side: &str, path: &Path) -> Result<RgbImage, VerifyError> {
    let side = side.to_string();
    let failed = |source| VerifyError::Run { side, source: Box::new(RunError::from(source)) };
    load_image(path).map_err(failed)
}

fn io(side: &str, path: &Path, source: std::io::Error) -> VerifyError {
    VerifyError::Io { side: side.into(), path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use bernini_graphs::manifest::PrecisionName;
    use image::Rgb;

    use super::super::limits;
    use super::*;

    fn folder(values: &[u8], size: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (index, &value) in values.iter().enumerate() {
            let picture = RgbImage::from_pixel(size, 13, Rgb([value, 9, 200]));
            picture.save(folder.path().join(format!("{index:05}.png"))).unwrap();
        }
        folder
    }

    #[test]
    fn the_worst_frame_decides() {
        let limit = limits(PrecisionName::F32, PrecisionName::Bf16, None);
        let (a, b) = (folder(&[1, 2, 3, 4], 17), folder(&[1, 2, 3, 250], 17));
        let report = frames(a.path(), "B", b.path(), &limit).unwrap();
        assert_eq!(report.frames[1].psnr, f64::INFINITY);
        let mean_square = 246.0f64.powi(2) / 3.0;
        let expected = 10.0 * (255.0f64.powi(2) / mean_square).log10();
        assert!((report.worst_psnr - expected).abs() < 1e-9 && !report.passed);
        assert!((report.frames[0].ssim.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(report.worst_ssim, report.frames[3].ssim);
        let shown: Vec<_> = report.shown.iter().map(|(index, _)| *index).collect();
        assert_eq!(shown, [0, 1, 3]);
        assert!(frames(a.path(), "B", a.path(), &limit).unwrap().passed);
    }

    #[test]
    fn other_counts_or_sizes_are_refused_and_small_frames_have_no_ssim() {
        let limit = limits(PrecisionName::F32, PrecisionName::F32, None);
        let (a, b, c) = (folder(&[1, 2], 5), folder(&[1], 5), folder(&[1, 2], 6));
        for other in [&b, &c] {
            let refused = frames(a.path(), "B", other.path(), &limit).unwrap_err();
            assert!(matches!(refused, VerifyError::Shapes { .. }), "{refused}");
        }
        assert_eq!(frames(a.path(), "B", a.path(), &limit).unwrap().worst_ssim, None);
    }
}
