//! The pictures that go along with a prompt: frames of the sources, then references (spec H.4).

use std::path::{Path, PathBuf};

use image::RgbImage;

use super::error::EnhancerError;
use super::templates;
use crate::media::{self, MediaError};

/// Most pictures of one request; tasks have up to three frames of a source and few references.
const MAX_PICTURES: usize = 16;
/// Longest side at which a picture is sent, pixels.
pub(super) const MAX_SIDE: u32 = 1024;

/// The source files of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceFiles<'a> {
    /// Source videos.
    pub videos: &'a [PathBuf],
    /// A source image.
    pub image: Option<&'a Path>,
    /// Reference images.
    pub images: &'a [PathBuf],
}

/// Pictures of at most 1024 pixels per side, at most 16 in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    /// Sampled frames of each source video.
    pub(super) videos: Vec<Vec<RgbImage>>,
    /// The source image if there is one, then the reference images.
    pub(super) references: Vec<RgbImage>,
}

impl Pictures {
    /// Pictures already in memory; large ones are scaled down.
    ///
    /// # Errors
    /// [`EnhancerError::TooManyPictures`].
    pub fn new(
        videos: Vec<Vec<RgbImage>>,
        references: Vec<RgbImage>,
    ) -> Result<Self, EnhancerError> {
        check_count(videos.iter().map(Vec::len).sum::<usize>() + references.len())?;
        let shrink_all = |pictures: Vec<RgbImage>| pictures.iter().map(shrink).collect();
        let videos = videos.into_iter().map(shrink_all).collect();
        Ok(Self { videos, references: shrink_all(references) })
    }

    /// Reads what the task's instruction mentions: so many frames of each video, every image.
    /// One large picture is held at a time.
    ///
    /// # Errors
    /// [`EnhancerError::Task`], [`EnhancerError::TooManyPictures`], [`EnhancerError::Media`].
    pub fn read(task_type: &str, sources: &SourceFiles<'_>) -> Result<Self, EnhancerError> {
        let template = templates::template(task_type);
        let task = || EnhancerError::Task { found: task_type.into() };
        let count = template.ok_or_else(task)?.source_frames;
        let images = sources.image.into_iter().chain(sources.images.iter().map(PathBuf::as_path));
        check_count(count * sources.videos.len() + images.clone().count())?;
        let sampled = sources.videos.iter().filter(|_| count > 0);
        let videos = sampled.map(|path| sample(path, count)).collect::<Result<_, _>>()?;
        let load = |path| media::load_image(path).map(|picture| shrink(&picture));
        let references = images.map(load).collect::<Result<_, _>>()?;
        Ok(Self { videos, references })
    }

    /// All pictures in the order of the request.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RgbImage> {
        self.videos.iter().flatten().chain(&self.references)
    }

    /// Says, one line per source, what the pictures show; empty without pictures.
    pub(super) fn describe(&self) -> String {
        let (mut text, mut number) = (String::new(), 1);
        for (video, frames) in self.videos.iter().enumerate() {
            let last = number + frames.len();
            let labels: Vec<_> = (number..last).map(|number| format!("[Image {number}]")).collect();
            let labels = labels.join(", ");
            text += &format!("{labels}: frames of source video {}, in order.\n", video + 1);
            number = last;
        }
        for index in 0..self.references.len() {
            text += &format!("[Image {}]: picture image{index}.\n", number + index);
        }
        if text.is_empty() { text } else { text + "\n" }
    }
}

fn check_count(found: usize) -> Result<(), EnhancerError> {
    match found > MAX_PICTURES {
        true => Err(EnhancerError::TooManyPictures { found, limit: MAX_PICTURES }),
        false => Ok(()),
    }
}

fn sample(path: &Path, count: usize) -> Result<Vec<RgbImage>, MediaError> {
    let indices = frame_indices(media::probe(path)?.frames, count);
    let mut pictures = vec![RgbImage::default(); count];
    media::visit_frames(path, &indices, |position, frame| {
        pictures[position] = shrink(frame);
        Ok::<_, MediaError>(())
    })?;
    Ok(pictures)
}

/// `round(i·(F-1)/(k-1))`, half to even as Python does, or the middle frame for k = 1 (H.4).
fn frame_indices(frames: usize, count: usize) -> Vec<usize> {
    if count == 1 {
        return vec![frames / 2];
    }
    let step = |i: usize| (i * frames.saturating_sub(1)) as f64 / (count - 1) as f64;
    (0..count).map(|i| step(i).round_ties_even() as usize).collect()
}

fn shrink(picture: &RgbImage) -> RgbImage {
    let longest = picture.width().max(picture.height());
    if longest <= MAX_SIDE {
        return picture.clone();
    }
    let scale = f64::from(MAX_SIDE) / f64::from(longest);
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    media::resize_bicubic(picture, side(picture.width()), side(picture.height()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, image::Rgb([77; 3]))
    }

    /// Python: `[round(i*(F-1)/2) for i in range(3)]`.
    #[test]
    fn frames_are_those_of_python() {
        for (frames, expected) in [
            (1, [0, 0, 0]),
            (2, [0, 0, 1]),
            (4, [0, 2, 3]),
            (6, [0, 2, 5]),
            (81, [0, 40, 80]),
            (120, [0, 60, 119]),
        ] {
            assert_eq!(frame_indices(frames, 3), expected, "{frames}");
        }
        assert_eq!((frame_indices(1, 1), frame_indices(81, 1)), (vec![0], vec![40]));
        assert_eq!(frame_indices(10, 0), [0; 0]);
    }

    #[test]
    fn large_pictures_are_scaled_down_and_small_ones_kept() {
        let pictures = vec![grey(2051, 1025), grey(1, 5000), grey(1024, 3)];
        let pictures = Pictures::new(vec![], pictures).unwrap();
        let sizes: Vec<_> = pictures.iter().map(|picture| picture.dimensions()).collect();
        assert_eq!(sizes, [(1024, 512), (1, 1024), (1024, 3)]);
        assert!(pictures.iter().all(|picture| picture.pixels().all(|p| p.0 == [77; 3])));
    }

    #[test]
    fn too_many_pictures_are_refused_before_any_is_read() {
        let missing = vec![PathBuf::from("/missing.png"); MAX_PICTURES + 1];
        let sources = SourceFiles { images: &missing, ..SourceFiles::default() };
        let error = Pictures::read("r2v", &sources).unwrap_err();
        assert!(matches!(error, EnhancerError::TooManyPictures { found: 17, .. }), "{error}");
        let sources = SourceFiles { images: &missing[1..], ..SourceFiles::default() };
        let error = Pictures::read("r2v", &sources).unwrap_err();
        assert!(error.to_string().contains("/missing.png"), "{error}");
        let frames = vec![vec![grey(1, 1); 9], vec![grey(1, 1); 8]];
        assert!(Pictures::new(frames, vec![]).is_err());
    }

    /// A clip of five greys that an encoder cannot confuse, and an image of another size.
    #[test]
    fn frames_come_first_then_the_image_then_the_references() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clip.mp4");
        let mut writer = media::VideoWriter::create(&clip, 48, 32, 16).unwrap();
        for level in 0..5 {
            let frame = RgbImage::from_pixel(48, 32, image::Rgb([20 + 50 * level; 3]));
            writer.write(&frame).unwrap();
        }
        writer.finish().unwrap();
        let [image, reference] = [(7, 5), (3, 9)].map(|(width, height)| {
            let path = folder.path().join(format!("{width}.png"));
            grey(width, height).save(&path).unwrap();
            path
        });
        let sources = SourceFiles { videos: &[clip], image: Some(&image), images: &[reference] };
        let pictures = Pictures::read("rv2v", &sources).unwrap();
        let sizes: Vec<_> = pictures.iter().map(|picture| picture.dimensions()).collect();
        assert_eq!(sizes, [(48, 32), (48, 32), (48, 32), (7, 5), (3, 9)]);
        let levels = [20, 120, 220];
        for (picture, level) in pictures.iter().zip(levels) {
            assert!(picture.get_pixel(24, 16).0[1].abs_diff(level) < 8, "{level}");
        }
        let middle = Pictures::read("v2v", &sources).unwrap();
        assert!(middle.videos[0][0].get_pixel(24, 16).0[1].abs_diff(120) < 8);
        let none = Pictures::read("t2v", &sources).unwrap();
        assert_eq!((none.videos.len(), none.references.len()), (0, 2));
    }

    #[test]
    fn pictures_are_described_with_their_labels() {
        let videos = vec![vec![grey(1, 1); 2], vec![grey(1, 1)]];
        let pictures = Pictures::new(videos, vec![grey(1, 1); 2]).unwrap();
        assert_eq!(
            pictures.describe(),
            "[Image 1], [Image 2]: frames of source video 1, in order.\n\
             [Image 3]: frames of source video 2, in order.\n\
             [Image 4]: picture image0.\n[Image 5]: picture image1.\n\n"
        );
        assert_eq!(Pictures::default().describe(), "");
    }
}
