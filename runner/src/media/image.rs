//! Loads a picture as RGB, as Pillow's `exif_transpose(open(path)).convert("RGB")` does.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};

use super::error::{MAX_PIXELS, MAX_SIDE, MediaError};

/// Bytes of the longest picture file that we read: uncompressed 16-bit RGBA at the size limit.
const MAX_FILE_BYTES: u64 = 8 * MAX_PIXELS + (1 << 20);

/// Loads a png, jpeg or webp picture as 8-bit RGB, upright.
///
/// Size limits hold before any pixel is decoded. Alpha is dropped, not composited; 16-bit samples
/// keep their high byte (Pillow does so too, except for 16-bit grey, which it clips to white).
///
/// # Errors
/// [`MediaError::Open`], [`MediaError::NotAnImage`], [`MediaError::Size`],
/// [`MediaError::CorruptImage`].
pub fn load_image(path: &Path) -> Result<RgbImage, MediaError> {
    let bytes = read_file(path)?;
    let corrupt = |source| not_decoded(path, source);
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|source| MediaError::Open { path: path.into(), source })?;
    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    decoder.set_limits(limits()).map_err(corrupt)?;
    let orientation = decoder.orientation().map_err(corrupt)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(corrupt)?;
    picture.apply_orientation(orientation);
    Ok(to_rgb8(picture))
}

/// Refuses a picture or video frame that has no pixels or too many.
pub(super) fn check_size(path: &Path, width: u32, height: u32) -> Result<(), MediaError> {
    let side = 1..=MAX_SIDE;
    let pixels = u64::from(width) * u64::from(height);
    if side.contains(&width) && side.contains(&height) && pixels <= MAX_PIXELS {
        return Ok(());
    }
    Err(MediaError::Size { path: path.into(), width, height })
}

/// Opens a regular file: a pipe or device could block or never end.
pub(super) fn open_file(path: &Path) -> Result<File, MediaError> {
    let error = |source| MediaError::Open { path: path.into(), source };
    if !path.metadata().map_err(error)?.is_file() {
        return Err(error(std::io::Error::other("not a regular file")));
    }
    File::open(path).map_err(error)
}

fn read_file(path: &Path) -> Result<Vec<u8>, MediaError> {
    let mut bytes = Vec::new();
    let mut file = BufReader::new(open_file(path)?).take(MAX_FILE_BYTES + 1);
    let read = file.read_to_end(&mut bytes);
    let read = read.and_then(|count| match count as u64 > MAX_FILE_BYTES {
        true => Err(std::io::Error::other("larger than any picture that we decode")),
        false => Ok(()),
    });
    read.map_err(|source| MediaError::Open { path: path.into(), source })?;
    Ok(bytes)
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(2 * MAX_FILE_BYTES);
    limits
}

fn not_decoded(path: &Path, source: ImageError) -> MediaError {
    match source {
        ImageError::Unsupported(unsupported) => MediaError::NotAnImage {
            path: path.into(),
            found: unsupported.format_hint().to_string(),
        },
        source => MediaError::CorruptImage { path: path.into(), source },
    }
}

fn to_rgb8(picture: DynamicImage) -> RgbImage {
    match picture {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => high_bytes(&picture.into_rgb16()),
        picture => picture.into_rgb8(),
    }
}

fn high_bytes(picture: &image::ImageBuffer<image::Rgb<u16>, Vec<u16>>) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        image::Rgb(picture.get_pixel(x, y).0.map(|sample| (sample >> 8) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageEncoder;
    use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};

    fn save(folder: &tempfile::TempDir, bytes: &[u8]) -> std::path::PathBuf {
        let path = folder.path().join("picture");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn png(picture: &DynamicImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        picture.write_with_encoder(PngEncoder::new(&mut bytes)).unwrap();
        bytes
    }

    fn load(bytes: &[u8]) -> Result<RgbImage, MediaError> {
        let folder = tempfile::tempdir().unwrap();
        load_image(&save(&folder, bytes))
    }

    #[test]
    fn drops_alpha_and_widens_grey() {
        let rgba = image::RgbaImage::from_pixel(3, 5, image::Rgba([10, 200, 30, 0]));
        assert_eq!(load(&png(&rgba.into())).unwrap().get_pixel(2, 4).0, [10, 200, 30]);
        let grey = image::GrayImage::from_pixel(1, 1, image::Luma([77]));
        assert_eq!(load(&png(&grey.into())).unwrap().into_raw(), [77; 3]);
    }

    #[test]
    fn keeps_the_high_byte_of_16_bits() {
        let deep = image::ImageBuffer::from_pixel(2, 1, image::Rgb([0x00ff_u16, 0x80ff, 0xffff]));
        let deep = DynamicImage::ImageRgb16(deep);
        assert_eq!(load(&png(&deep)).unwrap().get_pixel(1, 0).0, [0x00, 0x80, 0xff]);
    }

    #[test]
    fn turns_the_picture_upright() {
        // Orientation 6: a TIFF header, one short entry 0x0112 = 6, no further directory.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let lying = RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.write_image(&lying, 3, 2, image::ExtendedColorType::Rgb8).unwrap();
        let upright = load(&bytes).unwrap();
        assert_eq!(upright.dimensions(), (2, 3));
        assert_eq!(upright.get_pixel(1, 0).0, [0, 0, 9]);
    }

    #[test]
    fn reads_jpeg_and_refuses_its_truncation() {
        let grey = RgbImage::from_pixel(33, 17, image::Rgb([128; 3]));
        let mut bytes = Vec::new();
        grey.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 100)).unwrap();
        assert_eq!(load(&bytes).unwrap(), grey);
        assert!(matches!(load(&bytes[..40]), Err(MediaError::CorruptImage { .. })));
    }

    #[test]
    fn refuses_a_bomb_before_decoding() {
        let mut bytes = png(&RgbImage::new(1, 1).into());
        bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = load(&bytes).unwrap_err();
        assert!(matches!(error, MediaError::Size { width: 60_000, .. }), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0xedb8_8320 * (c & 1)))
        })
    }

    #[test]
    fn names_what_is_wrong() {
        assert!(matches!(load(b""), Err(MediaError::NotAnImage { .. })));
        assert!(matches!(load(b"GIF89a\x01\0\x01\0"), Err(MediaError::NotAnImage { .. })));
        let whole = png(&RgbImage::new(40, 30).into());
        assert!(matches!(load(&whole[..50]), Err(MediaError::CorruptImage { .. })));
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(load_image(folder.path()), Err(MediaError::Open { .. })));
        let missing = load_image(&folder.path().join("none.png")).unwrap_err();
        assert!(missing.to_string().contains("none.png"));
    }
}
