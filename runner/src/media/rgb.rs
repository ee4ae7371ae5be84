//! Turns decoded frames into upright RGB pictures.

use ffmpeg_next::codec::packet::side_data;
use ffmpeg_next::format::stream::Stream;
use ffmpeg_next::{Error, filter, format, frame};
use image::{RgbImage, imageops};

/// FFmpeg's default conversion to RGB24 (K.7): bicubic swscale through libavfilter, which, unlike
/// a bare swscale context, heeds the colour matrix and range that a frame states.
pub(super) struct RgbConverter {
    /// Size of the first frame: later ones are scaled to it.
    size: (u32, u32),
    graph: Option<(FrameKind, filter::Graph)>,
}

/// What a filter graph is built for; a stream may change it midway.
type FrameKind = (format::Pixel, u32, u32);

impl RgbConverter {
    /// Prepares for a clip whose first frame is `size` = (width, height).
    pub fn new(size: (u32, u32)) -> Self {
        Self { size, graph: None }
    }

    /// Converts one frame, not yet turned upright.
    pub fn convert(&mut self, frame: &frame::Video) -> Result<RgbImage, Error> {
        let kind = (frame.format(), frame.width(), frame.height());
        let graph = match self.graph.take() {
            Some((built_for, graph)) if built_for == kind => graph,
            _ => build_graph(kind, self.size)?,
        };
        let (_, graph) = self.graph.insert((kind, graph));
        let mut rgb = frame::Video::empty();
        graph.get("in").ok_or(Error::FilterNotFound)?.source().add(frame)?;
        graph.get("out").ok_or(Error::FilterNotFound)?.sink().frame(&mut rgb)?;
        pack(&rgb, self.size)
    }
}

fn build_graph(kind: FrameKind, size: (u32, u32)) -> Result<filter::Graph, Error> {
    let find = |name| filter::find(name).ok_or(Error::FilterNotFound);
    let format = kind.0.descriptor().ok_or(Error::InvalidData)?.name();
    let source =
        format!("video_size={}x{}:pix_fmt={format}:time_base=1/1:pixel_aspect=1/1", kind.1, kind.2);
    let convert = format!("scale={}:{}:flags=bicubic,format=rgb24", size.0, size.1);
    let mut graph = filter::Graph::new();
    graph.add(&find("buffer")?, "in", &source)?;
    graph.add(&find("buffersink")?, "out", "")?;
    graph.output("in", 0)?.input("out", 0)?.parse(&convert)?;
    graph.validate()?;
    Ok(graph)
}

/// Copies the rows of an RGB24 frame without their padding.
fn pack(frame: &frame::Video, (width, height): (u32, u32)) -> Result<RgbImage, Error> {
    let found = (frame.format(), frame.width(), frame.height());
    if found != (format::Pixel::RGB24, width, height) || frame.planes() == 0 {
        return Err(Error::OutputChanged);
    }
    let row_len = 3 * width as usize;
    let rows = frame.data(0).chunks_exact(frame.stride(0).max(row_len));
    let pixels: Vec<u8> = rows.flat_map(|row| &row[..row_len]).copied().collect();
    RgbImage::from_raw(width, height, pixels).ok_or(Error::BufferTooSmall)
}

/// One of the eight ways to lay a picture on a grid: swap the axes first, then mirror.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    swap_axes: bool,
    mirror_x: bool,
    mirror_y: bool,
}

impl Orientation {
    /// The orientation in a stream's display matrix; other angles go to the nearest quarter turn.
    pub fn of(stream: &Stream) -> Self {
        let mut side_data = stream.side_data();
        let matrix = side_data.find(|data| data.kind() == side_data::Type::DisplayMatrix);
        matrix.map_or_else(Self::default, |data| Self::from_matrix(data.data()))
    }

    /// Reads the 3×3 matrix of native-endian i32: x' = m0 x + m3 y, y' = m1 x + m4 y.
    fn from_matrix(bytes: &[u8]) -> Self {
        let at = |i: usize| {
            let word = bytes.get(4 * i..4 * i + 4).and_then(|word| word.try_into().ok());
            i64::from(word.map_or(0, i32::from_ne_bytes))
        };
        let swap_axes = at(1).abs() + at(3).abs() > at(0).abs() + at(4).abs();
        let (x, y) = if swap_axes { (at(3), at(1)) } else { (at(0), at(4)) };
        Self { swap_axes, mirror_x: x < 0, mirror_y: y < 0 }
    }

    /// (width, height) of a picture once upright.
    pub fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.swap_axes { (height, width) } else { (width, height) }
    }

    /// Turns a picture upright.
    pub fn apply(self, picture: RgbImage) -> RgbImage {
        let mut picture = match self.swap_axes {
            true => imageops::flip_horizontal(&imageops::rotate90(&picture)),
            false => picture,
        };
        if self.mirror_x {
            imageops::flip_horizontal_in_place(&mut picture);
        }
        if self.mirror_y {
            imageops::flip_vertical_in_place(&mut picture);
        }
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(size: (u32, u32), [y, u, v]: [u8; 3]) -> frame::Video {
        let mut frame = frame::Video::new(format::Pixel::YUV420P, size.0, size.1);
        [y, u, v].into_iter().enumerate().for_each(|(i, value)| frame.data_mut(i).fill(value));
        frame
    }

    fn assert_red(frame: &frame::Video) {
        let picture = RgbConverter::new((18, 10)).convert(frame).unwrap();
        let [red, green, blue] = picture.get_pixel(7, 7).0;
        assert!(red > 250 && green < 5 && blue < 5, "{red} {green} {blue}");
    }

    #[test]
    fn the_matrix_and_range_that_a_frame_states_are_heeded() {
        use ffmpeg_next::color::{Range, Space};
        let size = (18, 10);
        assert_red(&flat(size, [81, 90, 240]));
        let mut bt709 = flat(size, [63, 102, 240]);
        bt709.set_color_space(Space::BT709);
        assert_red(&bt709);
        let mut full_range = flat(size, [76, 85, 255]);
        full_range.set_color_range(Range::JPEG);
        assert_red(&full_range);
    }

    #[test]
    fn frames_that_change_size_or_format_are_brought_to_the_first_size() {
        let mut converter = RgbConverter::new((17, 9));
        for size in [(17, 9), (64, 48), (17, 9), (3, 2)] {
            let picture = converter.convert(&flat(size, [128, 128, 128])).unwrap();
            assert_eq!(picture.dimensions(), (17, 9));
            assert!(picture.iter().all(|sample| (129..=131).contains(sample)), "{size:?}");
        }
        let grey = frame::Video::new(format::Pixel::GRAY8, 5, 5);
        assert_eq!(converter.convert(&grey).unwrap().dimensions(), (17, 9));
    }

    fn turned(m0: i32, m1: i32, m3: i32, m4: i32) -> Vec<u8> {
        let matrix = [m0, m1, 0, m3, m4, 0, 0, 0, 1 << 30];
        let bytes: Vec<u8> = matrix.into_iter().flat_map(i32::to_ne_bytes).collect();
        let picture = RgbImage::from_fn(3, 2, |x, y| image::Rgb([(10 * y + x) as u8; 3]));
        let orientation = Orientation::from_matrix(&bytes);
        let upright = orientation.apply(picture);
        assert_eq!(upright.dimensions(), orientation.size((3, 2)));
        upright.pixels().map(|pixel| pixel.0[0]).collect()
    }

    #[test]
    fn matrices_move_pixels_as_they_say() {
        let one = 1 << 16;
        assert_eq!(turned(one, 0, 0, one), [0, 1, 2, 10, 11, 12]);
        assert_eq!(turned(0, one, -one, 0), [10, 0, 11, 1, 12, 2], "a quarter turn clockwise");
        assert_eq!(turned(0, -one, one, 0), [2, 12, 1, 11, 0, 10], "and the other way");
        assert_eq!(turned(-one, 0, 0, -one), [12, 11, 10, 2, 1, 0], "upside down");
        assert_eq!(turned(-one, 0, 0, one), [2, 1, 0, 12, 11, 10], "mirrored");
        assert_eq!(turned(i32::MIN, 0, 0, i32::MIN), [12, 11, 10, 2, 1, 0], "no overflow");
        assert_eq!(turned(0, 0, 0, 0), [0, 1, 2, 10, 11, 12], "nonsense is ignored");
    }

    #[test]
    fn a_short_matrix_is_no_rotation() {
        assert_eq!(Orientation::from_matrix(&[1, 2, 3]), Orientation::default());
    }
}
