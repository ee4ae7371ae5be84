//! Guidance modes as data: a chain of forwards, each link weighted by one omega (spec G.4, G.5,
//! K.10, K.12).

use std::fmt;

use bernini_graphs::manifest::Variant;

use super::GuidanceError;
use super::branch::{Branch, Context, SourceSet};
use super::projection::Limits;

/// The weights by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omega {
    Vid,
    Img,
    Txt,
    Tgt,
}

/// How a link of a chain enters the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Projection {
    /// ω·(upper − lower), on velocities.
    Plain,
    /// ω·apg(upper − lower, upper), on velocities (G.3).
    Damped,
    /// ω·N(upper − lower; base upper), on x0 predictions (G.3), limited by the request.
    Normalised,
    /// The same with limits that no flag changes.
    NormalisedBy(Limits),
}

/// base + Σ ω·P(upper − lower), where each link's lower end is the upper end of the one before.
pub(super) struct Chain {
    pub base: Branch,
    pub links: &'static [(Omega, Branch)],
    pub projection: Projection,
    /// Weights that, at 0 or below, replace their forward by the one before it.
    pub collapses: &'static [Omega],
    /// Whether the official sampler runs the last forward twice.
    pub repeats_last: bool,
}

const fn branch(sources: SourceSet, context: Context) -> Branch {
    Branch { sources, context }
}

const E0: Branch = branch(SourceSet::None, Context::Negative);
const E1: Branch = branch(SourceSet::FirstVideo, Context::Negative);
const EV: Branch = branch(SourceSet::Videos, Context::Negative);
const EI: Branch = branch(SourceSet::Images, Context::Negative);
const EVI: Branch = branch(SourceSet::All, Context::Negative);
const ET: Branch = branch(SourceSet::None, Context::Positive);
const ETI: Branch = branch(SourceSet::Images, Context::Positive);
const EVTI: Branch = branch(SourceSet::All, Context::Positive);
const EC: Branch = branch(SourceSet::All, Context::Planned);

/// The x0-space step of the full model's v2v_apg (G.4), which ignores the flags.
const FULL_V2V_LIMITS: Limits = Limits { eta: 1.0, norm_threshold: 50.0, momentum: 0.0 };

/// A `--guidance_mode`; the two models share the name `v2v_apg` and nothing else.
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
    VaeTxtVitWapg,
    Rv2vWapg,
    /// `v2v_apg` of the full model.
    FullV2vApg,
    VaeTxtVit,
}

impl GuidanceMode {
    const RENDERER: &[Self] = &[
        Self::Rv2v,
        Self::V2v,
        Self::V2vChain,
        Self::T2v,
        Self::R2vApg,
        Self::V2vApg,
        Self::T2vApg,
    ];
    const FULL: &[Self] = &[Self::VaeTxtVitWapg, Self::Rv2vWapg, Self::FullV2vApg, Self::VaeTxtVit];

    /// The modes of a model, in the order of G.4 or G.5.
    pub fn legal(variant: Variant) -> &'static [Self] {
        match variant {
            Variant::Full => Self::FULL,
            Variant::Renderer => Self::RENDERER,
        }
    }

    /// The mode that a model calls `name`.
    ///
    /// # Errors
    /// A name that this model does not know; the error lists those it does.
    pub fn parse(name: &str, variant: Variant) -> Result<Self, GuidanceError> {
        let legal = Self::legal(variant);
        let found = legal.iter().copied().find(|mode| mode.name() == name);
        found.ok_or_else(|| GuidanceError::UnknownMode {
            found: name.chars().take(64).collect(),
            model: if variant == Variant::Full { "full" } else { "renderer-only" },
            legal: legal.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", "),
            hint: hint(name, variant),
        })
    }

    /// The name on the command line and in case files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rv2v => "rv2v",
            Self::V2v => "v2v",
            Self::V2vChain => "v2v_chain",
            Self::T2v => "t2v",
            Self::R2vApg => "r2v_apg",
            Self::V2vApg | Self::FullV2vApg => "v2v_apg",
            Self::T2vApg => "t2v_apg",
            Self::VaeTxtVitWapg => "vae_txt_vit_wapg",
            Self::Rv2vWapg => "rv2v_wapg",
            Self::VaeTxtVit => "vae_txt_vit",
        }
    }

    pub(super) fn chain(self) -> Chain {
        use Omega::{Img, Tgt, Txt, Vid};
        use Projection::{Damped, Normalised, NormalisedBy, Plain};
        let free = |base, links, projection| Chain {
            base,
            links,
            projection,
            collapses: &[],
            repeats_last: false,
        };
        match self {
            Self::Rv2v => free(E0, &[(Vid, E1), (Img, EVI), (Txt, EVTI)], Plain),
            Self::V2v => free(EVI, &[(Txt, EVTI)], Plain),
            Self::V2vChain => free(E0, &[(Vid, E1), (Txt, EVTI)], Plain),
            Self::T2v => free(E0, &[(Txt, ET)], Plain),
            Self::R2vApg => free(E0, &[(Img, EI), (Txt, ETI)], Normalised),
            Self::V2vApg => free(EVI, &[(Txt, EVTI)], Normalised),
            Self::T2vApg => free(E0, &[(Txt, ET)], Normalised),
            Self::FullV2vApg => free(E0, &[(Txt, EC)], NormalisedBy(FULL_V2V_LIMITS)),
            Self::VaeTxtVitWapg | Self::VaeTxtVit => Chain {
                base: E0,
                links: &[(Img, EVI), (Txt, EVTI), (Tgt, EC)],
                projection: if self == Self::VaeTxtVit { Plain } else { Damped },
                collapses: &[Img, Txt],
                repeats_last: false,
            },
            Self::Rv2vWapg => Chain {
                base: E0,
                links: &[(Vid, EV), (Img, EVI), (Txt, EVTI), (Tgt, EC)],
                projection: Plain,
                collapses: &[Vid, Img, Txt, Tgt],
                repeats_last: true,
            },
        }
    }
}

/// What to write instead of a mode of the other model.
fn hint(name: &str, variant: Variant) -> &'static str {
    let elsewhere = |modes: &[GuidanceMode]| modes.iter().any(|mode| mode.name() == name);
    match variant {
        Variant::Full if name == "rv2v" => "; write rv2v_wapg for this model",
        Variant::Full if elsewhere(GuidanceMode::RENDERER) => {
            "; this one belongs to the renderer-only model"
        }
        Variant::Renderer if elsewhere(GuidanceMode::FULL) => {
            "; this one needs the full model with its planner"
        }
        _ => "",
    }
}

impl fmt::Display for GuidanceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_within_their_model() {
        for variant in [Variant::Full, Variant::Renderer] {
            for &mode in GuidanceMode::legal(variant) {
                assert_eq!(GuidanceMode::parse(mode.name(), variant).unwrap(), mode);
            }
        }
        let full = GuidanceMode::parse("v2v_apg", Variant::Full).unwrap();
        assert_ne!(full, GuidanceMode::parse("v2v_apg", Variant::Renderer).unwrap());
    }

    #[test]
    fn unknown_modes_list_the_legal_and_suggest() {
        let error = |name, variant| GuidanceMode::parse(name, variant).unwrap_err().to_string();
        let rv2v = error("rv2v", Variant::Full);
        assert!(rv2v.contains("vae_txt_vit_wapg, rv2v_wapg, v2v_apg, vae_txt_vit"), "{rv2v}");
        assert!(rv2v.ends_with("write rv2v_wapg for this model"), "{rv2v}");
        assert!(error("t2v_apg", Variant::Full).ends_with("belongs to the renderer-only model"));
        let needs_planner = error("rv2v_wapg", Variant::Renderer);
        assert!(needs_planner.contains("rv2v, v2v, v2v_chain, t2v, r2v_apg, v2v_apg, t2v_apg"));
        assert!(needs_planner.ends_with("with its planner"), "{needs_planner}");
        assert!(error("nonsense", Variant::Full).ends_with("vae_txt_vit"));
    }
}
