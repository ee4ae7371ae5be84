//! What an engine folder is for: the sizes of a target and its sources.

use std::fmt;
use std::str::FromStr;

/// Sides are multiples of this (VAE stride 8, patch 2).
const STRIDE: usize = 16;
/// Pixel frames per latent frame after the first.
const FRAMES_PER_LATENT: usize = 4;
/// Longest side and most frames that the runner takes.
const MAX_SIDE: usize = 4096;
const MAX_FRAMES: usize = 1024;
/// Most sources of a workload.
const MAX_SOURCES: usize = 16;

/// Named workloads and what they stand for; a workload's own description is a name too.
const NAMED: &[(&str, &str)] = &[
    ("t2v-480p", "832x480x81"),
    ("v2v-480p", "832x480x81+832x480x81"),
    ("rv2v-480p", "832x480x81+832x480x81+832x480x1"),
    ("t2v-720p", "1280x720x81"),
    ("v2v-720p", "1280x720x81+1280x720x81"),
    ("t2i-512", "512x512x1"),
];

/// A picture or a clip as the VAE sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clip {
    /// Pixels, a multiple of 16.
    pub width: usize,
    /// Pixels, a multiple of 16.
    pub height: usize,
    /// 4n + 1; one frame is a picture.
    pub frames: usize,
}

impl Clip {
    /// Whether guidance treats it as a video (spec B.9).
    pub fn is_video(self) -> bool {
        self.frames > 1
    }

    /// Tokens of an expert: latent frames × height / 16 × width / 16.
    pub fn tokens(self) -> usize {
        let latent_frames = (self.frames - 1) / FRAMES_PER_LATENT + 1;
        latent_frames * (self.height / STRIDE) * (self.width / STRIDE)
    }
}

impl fmt::Display for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.width, self.height, self.frames)
    }
}

/// One shape set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Such as `v2v-480p`, or the description of a custom one.
    pub name: String,
    /// What is generated.
    pub target: Clip,
    /// Sources: videos and pictures.
    pub sources: Vec<Clip>,
}

impl Workload {
    /// Every name that stands for a workload.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Token counts of the forwards of one step (spec G.4, G.5) and what each holds: the target
    /// alone, with the first video, with all videos, with everything. Counts are distinct.
    pub fn token_counts(&self) -> Vec<(&'static str, usize)> {
        let videos = || self.sources.iter().filter(|clip| clip.is_video());
        let sum = |clips: &mut dyn Iterator<Item = &Clip>| clips.map(|clip| clip.tokens()).sum();
        let sources: [(&str, usize); 4] = [
            ("targets", 0),
            ("targets+first video", sum(&mut videos().take(1))),
            ("targets+videos", sum(&mut videos())),
            ("targets+videos+pictures", sum(&mut self.sources.iter())),
        ];
        let mut counts: Vec<(&str, usize)> = vec![];
        // With one video it is "videos" that a reader looks for, not "first video".
        for (name, tokens) in sources.into_iter().rev() {
            let tokens = self.target.tokens() + tokens;
            match counts.iter_mut().find(|(_, other)| *other == tokens) {
                Some(same) if name != "targets+first video" => same.0 = name,
                Some(_) => {}
                None => counts.push((name, tokens)),
            }
        }
        counts.reverse();
        counts
    }
}

impl FromStr for Workload {
    type Err = WorkloadError;

    /// A name, or `WxHxF` for the target with one `+WxHxF` for each source.
    fn from_str(name: &str) -> Result<Self, WorkloadError> {
        let named = NAMED.iter().find(|(known, _)| *known == name);
        let clips = named.map_or(name, |(_, clips)| *clips).split('+');
        let clips: Vec<Clip> = clips.map(|text| clip(name, text)).collect::<Result<_, _>>()?;
        let [target, ref sources @ ..] = clips[..] else {
            return Err(WorkloadError::Unknown { found: name.into() });
        };
        if sources.len() > MAX_SOURCES {
            return Err(WorkloadError::Sources { workload: name.into(), found: sources.len() });
        }
        Ok(Self { name: name.into(), target, sources: sources.to_vec() })
    }
}

/// `WxHxF` of the workload `name`.
fn clip(name: &str, text: &str) -> Result<Clip, WorkloadError> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('x').collect();
    let [width, height, frames] = parts[..] else { return Err(unknown(name)) };
    if ![width, height, frames].into_iter().all(digits) {
        return Err(unknown(name));
    }
    let number = |field, text: &str, legal: fn(usize) -> bool, expected| {
        let found = text.parse().ok().filter(|&number| legal(number));
        found.ok_or_else(|| WorkloadError::Size {
            workload: name.into(),
            field,
            expected,
            found: text.chars().take(20).collect(),
        })
    };
    let side = |n| (STRIDE..=MAX_SIDE).contains(&n) && n.is_multiple_of(STRIDE);
    let length = |n| (1..=MAX_FRAMES).contains(&n) && n % FRAMES_PER_LATENT == 1;
    let multiple = "a multiple of 16 up to 4096";
    Ok(Clip {
        width: number("width", width, side, multiple)?,
        height: number("height", height, side, multiple)?,
        frames: number("frames", frames, length, "4n + 1 up to 1021, 1 for a picture")?,
    })
}

fn unknown(name: &str) -> WorkloadError {
    WorkloadError::Unknown { found: name.chars().take(64).collect() }
}

/// Why a workload was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// Neither a name nor sizes.
    #[error(
        "workload {found:?}: expected {} or WIDTHxHEIGHTxFRAMES, with +WIDTHxHEIGHTxFRAMES for \
         each source, such as 640x384x49+640x384x49",
        Workload::names().collect::<Vec<_>>().join(", ")
    )]
    Unknown {
        /// The name.
        found: String,
    },
    /// A size that the model does not take.
    #[error("workload {workload}: {field} is {found}, expected {expected}")]
    Size {
        /// The workload.
        workload: String,
        /// Width, height or frames.
        field: &'static str,
        /// What is legal.
        expected: &'static str,
        /// What was written.
        found: String,
    },
    /// More sources than anyone has.
    #[error("workload {workload}: {found} sources, expected at most {MAX_SOURCES}; leave some out")]
    Sources {
        /// The workload.
        workload: String,
        /// Their number.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(name: &str) -> Vec<usize> {
        let workload: Workload = name.parse().unwrap();
        workload.token_counts().into_iter().map(|(_, tokens)| tokens).collect()
    }

    /// Spec B.9: 21·30·52 and 21·45·80 tokens; a picture of 832×480 has 30·52 = 1,560.
    #[test]
    fn named_workloads_have_the_tokens_of_the_specification() {
        assert_eq!(counts("t2v-480p"), [32_760]);
        assert_eq!(counts("v2v-480p"), [32_760, 65_520]);
        assert_eq!(counts("rv2v-480p"), [32_760, 65_520, 67_080]);
        assert_eq!(counts("t2v-720p"), [75_600]);
        assert_eq!(counts("v2v-720p"), [75_600, 151_200]);
        assert_eq!(counts("t2i-512"), [1024]);
    }

    #[test]
    fn custom_workloads_count_what_they_hold() {
        // 3·5·7 = 105 target tokens; videos of 2·2·3 = 12 and 24; a picture of 9.
        let name = "112x80x9+48x32x5+96x32x5+48x48x1";
        let workload: Workload = name.parse().unwrap();
        let expected = [
            ("targets", 105),
            ("targets+first video", 117),
            ("targets+videos", 141),
            ("targets+videos+pictures", 150),
        ];
        assert_eq!(workload.token_counts(), expected);
        assert_eq!(
            (workload.name.as_str(), workload.target.to_string()),
            (name, "112x80x9".into())
        );
        let pictures: Workload = "512x512x1+512x512x1".parse().unwrap();
        let expected = [("targets", 1024), ("targets+videos+pictures", 2048)];
        assert_eq!(pictures.token_counts(), expected);
        let video: Workload = "v2v-480p".parse().unwrap();
        assert_eq!(video.token_counts()[1].0, "targets+videos");
    }

    #[test]
    fn every_name_is_a_workload() {
        for name in Workload::names() {
            let workload: Workload = name.parse().unwrap();
            assert_eq!(workload.name, name);
        }
    }

    #[test]
    fn bad_sizes_say_what_would_do() {
        let error = |text: &str| text.parse::<Workload>().unwrap_err().to_string();
        for text in
            ["", "t2v-481p", "832x480", "832x480x81x1", "832x480x+1", "-16x16x1", "+", "axbxc"]
        {
            assert!(error(text).contains("t2v-480p, v2v-480p"), "{text}: {}", error(text));
        }
        assert!(error("830x480x81").contains("width is 830, expected a multiple of 16"));
        assert!(error("832x0x81").contains("height is 0"));
        assert!(error("832x480x80").contains("frames is 80, expected 4n + 1"));
        assert!(error("832x480x81+832x480x2").contains("frames is 2"));
        assert!(error("8192x480x81").contains("width is 8192"));
        assert!(error("99999999999999999999999x480x81").contains("width is 9999"));
        assert!(error(&"16x16x1+".repeat(40)).contains("expected"));
        let many = format!("16x16x1{}", "+16x16x1".repeat(17));
        assert!(error(&many).contains("17 sources"));
        assert!(error(&"x".repeat(1 << 20)).len() < 500);
    }
}
