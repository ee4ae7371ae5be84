//! Clips are made by our own encoder, then damaged by hand.

use super::*;
use crate::media::VideoWriter;

const SIZE: (u32, u32) = (48, 32);

/// A frame whose red tells its number and whose left half is bright.
fn frame_of(index: usize, (width, height): (u32, u32)) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| {
        image::Rgb([(8 * index) as u8, 60, if x < width / 2 { 220 } else { 20 }])
    })
}

fn clip(frames: usize, fps: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let mut writer = VideoWriter::create(&path, SIZE.0, SIZE.1, fps).unwrap();
    (0..frames).for_each(|i| writer.write(&frame_of(i, SIZE)).unwrap());
    writer.finish().unwrap();
    (folder, path)
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn assert_shows(frame: &RgbImage, index: usize) {
    let [red, _, blue] = frame.get_pixel(3, 5).0.map(i32::from);
    let far = (red - 8 * index as i32).abs().max((blue - 220).abs());
    assert!(far <= 6, "frame {index} shows red {red}, blue {blue}");
}

/// Offset just after the first occurrence of `tag`.
fn after(bytes: &[u8], tag: &[u8]) -> usize {
    bytes.windows(tag.len()).position(|window| window == tag).unwrap() + tag.len()
}

#[test]
fn probe_counts_every_frame_and_states_the_exact_rate() {
    for (frames, fps) in [(1, 16), (2, 24), (5, 16), (33, 30), (81, 16)] {
        let (_folder, path) = clip(frames, fps);
        let expected = VideoInfo { width: 48, height: 32, fps: f64::from(fps), frames };
        assert_eq!(probe(&path).unwrap(), expected);
    }
}

#[test]
fn read_frames_gives_the_frames_asked_for_in_order() {
    let (_folder, path) = clip(30, 16);
    let indices = [7, 0, 7, 29, 3, 3];
    let frames = read_frames(&path, &indices).unwrap();
    assert_eq!(frames.len(), indices.len());
    for (frame, index) in frames.iter().zip(indices) {
        assert_eq!(frame.dimensions(), SIZE);
        assert_shows(frame, index);
    }
    assert_eq!(frames[0], frames[2]);
    assert_eq!(read_frames(&path, &[]).unwrap(), []);
}

#[test]
fn a_frame_beyond_the_end_is_named() {
    let (_folder, path) = clip(5, 16);
    let error = read_frames(&path, &[1, 5]).unwrap_err();
    assert!(matches!(error, MediaError::FrameIndex { index: 5, frames: 5, .. }), "{error}");
}

#[test]
fn a_display_matrix_turns_frames_upright() {
    let (_folder, path) = clip(3, 16);
    let mut bytes = std::fs::read(&path).unwrap();
    let matrix = after(&bytes, b"tkhd") + 40;
    let (one, minus_one) = (0x1_0000_i32, -0x1_0000_i32);
    for (i, word) in [0, one, 0, minus_one, 0, 0, 32 * one, 0, 1 << 30].into_iter().enumerate() {
        bytes[matrix + 4 * i..][..4].copy_from_slice(&word.to_be_bytes());
    }
    let (_folder, path) = file("turned.mp4", &bytes);
    let info = probe(&path).unwrap();
    assert_eq!((info.width, info.height), (32, 48));
    let frame = &read_frames(&path, &[2]).unwrap()[0];
    assert_eq!(frame.dimensions(), (32, 48));
    assert!(frame.get_pixel(16, 5).0[2] > 200 && frame.get_pixel(16, 42).0[2] < 40);
}

#[test]
fn files_that_are_no_video_are_named() {
    let noise: Vec<u8> =
        (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n";
    for bytes in [&b""[..], b"x", &noise, playlist, b"ffconcat version 1.0\nfile clip.mp4\n"] {
        let (_folder, path) = file("clip.mp4", bytes);
        let error = probe(&path).unwrap_err();
        assert!(matches!(error, MediaError::NotAVideo { .. }), "{error}");
    }
}

#[test]
fn sound_alone_is_no_video() {
    let mut wav = b"RIFF\x2c\x01\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend(b"\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\x00\x01\0\0");
    wav.extend([128; 256]);
    let (_folder, path) = file("sound.wav", &wav);
    let error = probe(&path).unwrap_err();
    assert!(matches!(error, MediaError::NoVideoStream { .. }), "{error}");
}

/// The same clip with its index before its frames, as on the web, so that a cut hits frames.
fn index_first(bytes: &[u8]) -> Vec<u8> {
    let (mdat, moov) = (after(bytes, b"mdat") - 8, after(bytes, b"moov") - 8);
    let mut index = bytes[moov..].to_vec();
    let offsets = after(&index, b"stco") + 8;
    for offset in index[offsets..].chunks_exact_mut(4).take(1) {
        let moved = u32::from_be_bytes(offset.try_into().unwrap()) + (bytes.len() - moov) as u32;
        offset.copy_from_slice(&moved.to_be_bytes());
    }
    [&bytes[..mdat], &index, &bytes[mdat..moov]].concat()
}

#[test]
fn a_truncated_clip_is_an_error_wherever_it_ends() {
    let (_folder, path) = clip(30, 16);
    let whole = index_first(&std::fs::read(&path).unwrap());
    let (_folder, path) = file("whole.mp4", &whole);
    assert_eq!(probe(&path).unwrap().frames, 30);
    let mut damaged = 0;
    for end in (0..whole.len()).step_by(whole.len() / 43) {
        let (_folder, path) = file("cut.mp4", &whole[..end]);
        let error = probe(&path).unwrap_err();
        damaged += usize::from(matches!(error, MediaError::CorruptVideo { .. }));
    }
    assert!(damaged > 0);
}

#[test]
fn damage_never_panics_and_never_invents_frames() {
    let (_folder, path) = clip(20, 16);
    let whole = std::fs::read(&path).unwrap();
    for position in (0..whole.len()).step_by(whole.len() / 97) {
        let mut bytes = whole.clone();
        bytes[position] ^= 0xff;
        let (_folder, path) = file("damaged.mp4", &bytes);
        if let Ok(info) = probe(&path) {
            assert!(info.frames <= 20, "byte {position}");
        }
    }
}

#[test]
fn absurd_dimensions_are_refused() {
    assert!(matches!(check_size(Path::new("x"), 0, 4), Err(MediaError::Size { .. })));
    assert!(matches!(check_size(Path::new("x"), 16_385, 4), Err(MediaError::Size { .. })));
    assert!(matches!(check_size(Path::new("x"), 16_384, 16_384), Err(MediaError::Size { .. })));
    assert!(check_size(Path::new("x"), 1, 1).is_ok());
}

#[test]
fn folders_and_missing_files_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(probe(folder.path()), Err(MediaError::Open { .. })));
    assert!(matches!(probe(&folder.path().join("none.mp4")), Err(MediaError::Open { .. })));
}

#[test]
fn a_name_that_is_not_utf8_is_no_obstacle() {
    use std::os::unix::ffi::OsStrExt;
    let (folder, path) = clip(2, 16);
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"http:\xff\n.mp4"));
    std::fs::rename(path, &odd).unwrap();
    assert_eq!(probe(&odd).unwrap().frames, 2);
}
