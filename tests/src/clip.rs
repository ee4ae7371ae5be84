//! Clips for tests: lossless, so that a decoded frame is the frame that was written.

use std::path::Path;

use ffmpeg_next::{Packet, Rational, codec, encoder, format, frame};
use image::RgbImage;

/// Writes `frames` as FFV1 in Matroska, which keeps every RGB value.
///
/// # Panics
/// When FFmpeg refuses.
pub fn write_lossless_clip(path: &Path, frames: &[RgbImage], fps: f64) {
    write(path, frames, fps).expect("FFmpeg writes the clip");
}

fn write(path: &Path, frames: &[RgbImage], fps: f64) -> Result<(), ffmpeg_next::Error> {
    ffmpeg_next::init()?;
    let time_base = Rational::from(fps).invert();
    let ffv1 = encoder::find_by_name("ffv1").ok_or(ffmpeg_next::Error::EncoderNotFound)?;
    let mut settings = codec::Context::new_with_codec(ffv1).encoder().video()?;
    settings.set_width(frames[0].width());
    settings.set_height(frames[0].height());
    settings.set_format(format::Pixel::ZRGB32);
    settings.set_time_base(time_base);
    settings.set_frame_rate(Some(time_base.invert()));
    let mut encoder = settings.open()?;
    let mut output = format::output(path)?;
    let mut stream = output.add_stream(ffv1)?;
    stream.set_parameters(&encoder);
    stream.set_time_base(time_base);
    stream.set_avg_frame_rate(time_base.invert());
    output.write_header()?;
    for (i, picture) in frames.iter().enumerate() {
        let mut frame = to_frame(picture);
        frame.set_pts(Some(i as i64));
        encoder.send_frame(&frame)?;
        drain(&mut encoder, &mut output, time_base)?;
    }
    encoder.send_eof()?;
    drain(&mut encoder, &mut output, time_base)?;
    output.write_trailer()
}

fn drain(
    encoder: &mut encoder::Video,
    output: &mut format::context::Output,
    time_base: Rational,
) -> Result<(), ffmpeg_next::Error> {
    let mut packet = Packet::empty();
    while encoder.receive_packet(&mut packet).is_ok() {
        packet.set_stream(0);
        packet.set_duration(1);
        let stream = output.stream(0).ok_or(ffmpeg_next::Error::StreamNotFound)?;
        packet.rescale_ts(time_base, stream.time_base());
        packet.write_interleaved(output)?;
    }
    Ok(())
}

/// Bytes B, G, R and one unused, as `ZRGB32` lies in memory on a little-endian machine.
fn to_frame(picture: &RgbImage) -> frame::Video {
    let (width, height) = picture.dimensions();
    let mut frame = frame::Video::new(format::Pixel::ZRGB32, width, height);
    let stride = frame.stride(0);
    for (row, pixels) in frame.data_mut(0).chunks_exact_mut(stride).zip(picture.rows()) {
        for (place, pixel) in row.chunks_exact_mut(4).zip(pixels) {
            let [r, g, b] = pixel.0;
            place.copy_from_slice(&[b, g, r, 255]);
        }
    }
    frame
}
