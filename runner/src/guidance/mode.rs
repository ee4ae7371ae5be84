//! Renderer-only guidance modes (spec G.5, K.12) as data: a chain of forwards, each link weighted
//! by one omega.

use std::fmt;
use std::str::FromStr;

use super::GuidanceError;

/// Which clean sources are appended to the noisy tokens (S in ε(S, c) of G.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceSet {
    /// No source: e0.
    None,
    /// The first video only (V), with source id 1.
    FirstVideo,
    /// Every image and no video (I); source ids count from 1.
    Images,
    /// Every video and image (VI); source ids of the whole request (B.9).
    All,
}

/// Which text the forward attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The negative prompt.
    Negative,
    /// The prompt.
    Positive,
}

/// One forward ε(sources, context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Sources that the target attends to.
    pub sources: SourceSet,
    /// Text that the target attends to.
    pub context: Context,
}

/// How many sources a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Number of source videos.
    pub videos: usize,
    /// Number of source images.
    pub images: usize,
}

impl SourceSet {
    /// The smallest name of the same set of tokens: without images and with one video, VI is V.
    pub fn resolve(self, available: Available) -> Self {
        match (self, available.videos, available.images) {
            (Self::None, ..) | (Self::FirstVideo, 0, _) | (Self::Images, _, 0) => Self::None,
            (Self::All, 0, 0) => Self::None,
            (Self::All, 0, _) => Self::Images,
            (Self::All, 1, 0) => Self::FirstVideo,
            (set, ..) => set,
        }
    }
}

/// The weights of G.5 by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omega {
    Vid,
    Img,
    Txt,
}

/// How a link of a chain enters the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Projection {
    /// ω·(upper − lower), on velocities.
    Plain,
    /// ω·N(upper − lower; base upper), on x0 predictions (G.3).
    Normalised,
}

/// base + Σ ω·P(upper − lower), where each link's lower end is the upper end of the one before.
pub(super) struct Chain {
    pub base: Branch,
    pub links: &'static [(Omega, Branch)],
    pub projection: Projection,
}

const E0: Branch = Branch { sources: SourceSet::None, context: Context::Negative };
const EV: Branch = Branch { sources: SourceSet::FirstVideo, context: Context::Negative };
const EI: Branch = Branch { sources: SourceSet::Images, context: Context::Negative };
const EVI: Branch = Branch { sources: SourceSet::All, context: Context::Negative };
const ET: Branch = Branch { sources: SourceSet::None, context: Context::Positive };
const ETI: Branch = Branch { sources: SourceSet::Images, context: Context::Positive };
const EVTI: Branch = Branch { sources: SourceSet::All, context: Context::Positive };

/// A `--guidance_mode` of the renderer-only pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum GuidanceMode {
    Rv2v,
    V2v,
    V2vChain,
    T2v,
    R2vApg,
    V2vApg,
    T2vApg,
}

impl GuidanceMode {
    /// Every mode, in the order of G.5.
    pub const ALL: [Self; 7] = [
        Self::Rv2v,
        Self::V2v,
        Self::V2vChain,
        Self::T2v,
        Self::R2vApg,
        Self::V2vApg,
        Self::T2vApg,
    ];

    /// The name on the command line and in case files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rv2v => "rv2v",
            Self::V2v => "v2v",
            Self::V2vChain => "v2v_chain",
            Self::T2v => "t2v",
            Self::R2vApg => "r2v_apg",
            Self::V2vApg => "v2v_apg",
            Self::T2vApg => "t2v_apg",
        }
    }

    pub(super) fn chain(self) -> Chain {
        use Omega::{Img, Txt, Vid};
        use Projection::{Normalised, Plain};
        let (base, links, projection): (_, &[_], _) = match self {
            Self::Rv2v => (E0, &[(Vid, EV), (Img, EVI), (Txt, EVTI)], Plain),
            Self::V2v => (EVI, &[(Txt, EVTI)], Plain),
            Self::V2vChain => (E0, &[(Vid, EV), (Txt, EVTI)], Plain),
            Self::T2v => (E0, &[(Txt, ET)], Plain),
            Self::R2vApg => (E0, &[(Img, EI), (Txt, ETI)], Normalised),
            Self::V2vApg => (EVI, &[(Txt, EVTI)], Normalised),
            Self::T2vApg => (E0, &[(Txt, ET)], Normalised),
        };
        Chain { base, links, projection }
    }

    /// The branches of the chain in order, with source sets resolved: equal ones may repeat.
    pub fn chain_branches(self, available: Available) -> Vec<Branch> {
        let chain = self.chain();
        std::iter::once(chain.base)
            .chain(chain.links.iter().map(|&(_, branch)| branch))
            .map(|branch| Branch { sources: branch.sources.resolve(available), ..branch })
            .collect()
    }

    /// The different forwards that a step needs, in order of first use.
    pub fn branches(self, available: Available) -> Vec<Branch> {
        let mut different = Vec::new();
        for branch in self.chain_branches(available) {
            if !different.contains(&branch) {
                different.push(branch);
            }
        }
        different
    }
}

impl fmt::Display for GuidanceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for GuidanceMode {
    type Err = GuidanceError;

    fn from_str(text: &str) -> Result<Self, GuidanceError> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| GuidanceError::UnknownMode {
            found: text.chars().take(64).collect(),
            legal: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sources(videos: usize, images: usize) -> Available {
        Available { videos, images }
    }

    #[test]
    fn names_round_trip_and_unknown_ones_list_the_legal() {
        for mode in GuidanceMode::ALL {
            assert_eq!(mode.name().parse::<GuidanceMode>().unwrap(), mode);
        }
        let error = "rv2v_wapgg".parse::<GuidanceMode>().unwrap_err().to_string();
        assert!(error.contains("rv2v_wapgg") && error.contains("v2v_chain, t2v, r2v_apg"));
    }

    #[test]
    fn a_full_request_runs_the_forwards_of_the_specification() {
        let counts = GuidanceMode::ALL.map(|mode| mode.branches(sources(2, 3)).len());
        assert_eq!(counts, [4, 2, 3, 2, 3, 2, 2]);
    }

    #[test]
    fn equal_forwards_run_once() {
        let rv2v = |videos, images| GuidanceMode::Rv2v.branches(sources(videos, images));
        assert_eq!(rv2v(0, 0), [E0, ET]);
        assert_eq!(rv2v(0, 2), [E0, EI, ETI]);
        let text_and_video = Branch { context: Context::Positive, ..EV };
        assert_eq!(rv2v(1, 0), [E0, EV, text_and_video]);
        assert_eq!(rv2v(2, 0), [E0, EV, EVI, EVTI]);
        assert_eq!(rv2v(1, 1), [E0, EV, EVI, EVTI]);
    }

    #[test]
    fn images_alone_leave_the_video_out() {
        assert_eq!(GuidanceMode::R2vApg.branches(sources(1, 1)), [E0, EI, ETI]);
        assert_eq!(GuidanceMode::R2vApg.branches(sources(1, 0)), [E0, ET]);
    }
}
