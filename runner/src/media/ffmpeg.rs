//! The one place where FFmpeg is initialised.

use std::sync::LazyLock;

use ffmpeg_next::util::log;

/// "Try again": FFmpeg wants input before it gives more output.
pub(super) const AGAIN: ffmpeg_next::Error =
    ffmpeg_next::Error::Other { errno: ffmpeg_next::error::EAGAIN };

/// Prepares FFmpeg's error texts and silences its own log: our errors carry what it has to say.
pub(super) fn init() -> Result<(), ffmpeg_next::Error> {
    static READY: LazyLock<Result<(), ffmpeg_next::Error>> = LazyLock::new(|| {
        ffmpeg_next::init()?;
        log::set_level(log::Level::Quiet);
        Ok(())
    });
    *READY
}

/// Versions of the FFmpeg libraries that are linked.
pub fn ffmpeg_versions() -> String {
    let show = |name, version: u32| {
        format!("{name} {}.{}.{}", version >> 16, (version >> 8) & 0xff, version & 0xff)
    };
    let codec = show("libavcodec", ffmpeg_next::codec::version());
    format!("{codec}, {}", show("libavformat", ffmpeg_next::format::version()))
}
