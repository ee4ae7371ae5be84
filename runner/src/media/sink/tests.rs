use super::*;
use crate::media::{load_image, probe};

fn frame(value: u8) -> RgbImage {
    RgbImage::from_fn(32, 16, |x, y| image::Rgb([value, x as u8, y as u8]))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn write(path: &Path, frames: usize) -> Result<(), MediaError> {
    let mut sink = Sink::create(path, frames, (32, 16), 16)?;
    (0..frames).try_for_each(|i| sink.write(&frame(i as u8)))?;
    sink.finish()
}

#[test]
fn makes_missing_folders_and_leaves_only_the_output() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    Sink::check(&deep.join("clip.mp4"), 5).unwrap();
    assert!(names(folder.path()).is_empty(), "a check leaves no trace");
    write(&deep.join("clip.mp4"), 5).unwrap();
    write(&deep.join("one.png"), 1).unwrap();
    write(&deep.join("frames/"), 3).unwrap();
    assert_eq!(names(&deep), ["clip.mp4", "frames", "one.png"]);
    assert_eq!(names(&deep.join("frames")), ["00000.png", "00001.png", "00002.png"]);
    assert_eq!(probe(&deep.join("clip.mp4")).unwrap().frames, 5);
    assert_eq!(load_image(&deep.join("frames/00002.png")).unwrap(), frame(2));
    assert_eq!(load_image(&deep.join("one.png")).unwrap(), frame(0));
}

#[test]
fn the_form_of_the_path_chooses_the_kind() {
    let folder = tempfile::tempdir().unwrap();
    let kind = |name: &str, frames| Sink::check(&folder.path().join(name), frames);
    assert_eq!(kind("a.MP4", 5).unwrap(), OutputKind::Video);
    assert_eq!(kind("a.png", 1).unwrap(), OutputKind::Picture);
    assert_eq!(kind("a.png/", 1).unwrap(), OutputKind::Frames);
    assert_eq!(kind("", 9).unwrap(), OutputKind::Frames);
    for (name, frames, words) in [("a.mp4", 1, ".png"), ("a.png", 5, ".mp4"), ("a.png", 0, "/")] {
        let error = kind(name, frames).unwrap_err();
        assert!(matches!(error, MediaError::OutputFrames { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    for name in ["a", "a.mov", "a.jpg", ".mp4"] {
        assert!(matches!(kind(name, 5), Err(MediaError::OutputKind { .. })), "{name}");
    }
}

#[test]
fn an_existing_file_is_replaced_and_a_full_folder_refused() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("one.png");
    std::fs::write(&picture, "old").unwrap();
    write(&picture, 1).unwrap();
    assert_eq!(load_image(&picture).unwrap(), frame(0));
    let refused = Sink::check(folder.path(), 3).unwrap_err();
    assert!(matches!(refused, MediaError::FolderNotEmpty { .. }), "{refused}");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    write(&empty, 2).unwrap();
    assert_eq!(names(&empty).len(), 2);
}

#[test]
fn nothing_remains_of_an_unfinished_output() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("clip.mp4");
    std::fs::write(&old, "old").unwrap();
    for (name, frames) in [("clip.mp4", 40), ("frames/", 9), ("one.png", 1)] {
        let mut sink = Sink::create(&folder.path().join(name), frames, (32, 16), 16).unwrap();
        sink.write(&frame(1)).unwrap();
        drop(sink);
    }
    assert_eq!(names(folder.path()), ["clip.mp4"]);
    assert_eq!(std::fs::read(old).unwrap(), b"old");
}

#[test]
fn missing_surplus_and_odd_frames_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let create = || Sink::create(&path, 2, (32, 16), 16).unwrap();
    let mut short = create();
    short.write(&frame(0)).unwrap();
    let error = short.finish().unwrap_err();
    assert!(matches!(error, MediaError::FrameCount { expected: 2, found: 1, .. }));
    let mut long = create();
    long.write(&frame(0)).unwrap();
    long.write(&frame(1)).unwrap();
    assert!(matches!(long.write(&frame(2)), Err(MediaError::FrameCount { found: 3, .. })));
    let odd = create().write(&RgbImage::new(31, 16)).unwrap_err();
    assert!(matches!(odd, MediaError::FrameSize { found: (31, 16), .. }));
    drop(long);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn sizes_and_rates_that_cannot_be_encoded_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    for (size, fps) in [((31, 16), 16), ((32, 0), 16), ((32, 16), 0), ((1 << 20, 16), 16)] {
        let error = Sink::create(&path, 5, size, fps).err().unwrap();
        assert!(matches!(error, MediaError::OutputParameters { .. }), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_path_through_a_file_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    for name in ["file/clip.mp4", "file/deep/frames/", "file/"] {
        let error = Sink::check(&folder.path().join(name), 5).unwrap_err();
        assert!(matches!(error, MediaError::Write { .. }), "{name}: {error}");
    }
}
