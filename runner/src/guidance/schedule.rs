//! Which forwards a step runs, and where in the chain their predictions go.

use super::Omegas;
use super::branch::{Available, Branch};
use super::mode::{Chain, Omega};

/// Forwards of a step, and for each place of the chain the index of its forward.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schedule {
    pub branches: Vec<Branch>,
    pub places: Vec<usize>,
}

impl Schedule {
    /// Equal forwards run once, unless `reference` asks for the official schedule. A collapsed
    /// link takes the place before it either way: that is the sampler's meaning (G.4).
    pub fn new(chain: &Chain, available: Available, omegas: &Omegas, reference: bool) -> Self {
        let mut schedule = Self { branches: vec![], places: vec![] };
        schedule.place(chain.base.resolve(available), reference);
        let collapsed =
            |omega: Omega| chain.collapses.contains(&omega) && omegas.weight(omega) <= 0.0;
        for &(omega, branch) in chain.links {
            if collapsed(omega) {
                schedule.places.extend(schedule.places.last().copied());
            } else {
                schedule.place(branch.resolve(available), reference);
            }
        }
        if let Some(&(omega, branch)) = chain.links.last()
            && reference
            && chain.repeats_last
            && !collapsed(omega)
        {
            schedule.branches.push(branch.resolve(available));
        }
        schedule
    }

    fn place(&mut self, branch: Branch, reference: bool) {
        let known = self.branches.iter().position(|&known| known == branch && !reference);
        if known.is_none() {
            self.branches.push(branch);
        }
        self.places.push(known.unwrap_or(self.branches.len() - 1));
    }
}

#[cfg(test)]
mod tests {
    use bernini_graphs::manifest::Variant;

    use super::super::{Context, GuidanceMode, SourceSet};
    use super::*;

    const OMEGAS: Omegas = Omegas { vid: 1.25, img: 4.5, txt: 4.0, tgt: 0.5, scale: 0.8 };

    fn branches(mode: GuidanceMode, sources: (usize, usize), omegas: Omegas) -> Vec<Branch> {
        let (videos, images) = sources;
        Schedule::new(&mode.chain(), Available { videos, images }, &omegas, false).branches
    }

    fn sets(mode: GuidanceMode, videos: usize, images: usize) -> Vec<SourceSet> {
        let branches = branches(mode, (videos, images), OMEGAS);
        branches.into_iter().map(|branch| branch.sources).collect()
    }

    fn counts(variant: Variant, sources: (usize, usize), reference: bool) -> Vec<usize> {
        let available = Available { videos: sources.0, images: sources.1 };
        let schedule = |mode: &GuidanceMode| {
            Schedule::new(&mode.chain(), available, &OMEGAS, reference).branches.len()
        };
        GuidanceMode::legal(variant).iter().map(schedule).collect()
    }

    #[test]
    fn requests_run_the_forwards_of_the_specification() {
        assert_eq!(counts(Variant::Renderer, (2, 3), false), [4, 2, 3, 2, 3, 2, 2]);
        assert_eq!(counts(Variant::Renderer, (0, 0), true), [4, 2, 3, 2, 3, 2, 2]);
        assert_eq!(counts(Variant::Full, (2, 3), false), [4, 5, 2, 4]);
        assert_eq!(counts(Variant::Full, (2, 3), true), [4, 6, 2, 4]);
    }

    #[test]
    fn without_sources_the_full_model_shares_forwards() {
        assert_eq!(counts(Variant::Full, (0, 0), false), [3, 3, 2, 3]);
        assert_eq!(counts(Variant::Full, (0, 0), true), [4, 6, 2, 4]);
        assert_eq!(counts(Variant::Full, (0, 2), false), [4, 4, 2, 4]);
        assert_eq!(counts(Variant::Full, (1, 0), false), [4, 4, 2, 4]);
        assert_eq!(counts(Variant::Full, (2, 0), false), [4, 4, 2, 4]);
    }

    #[test]
    fn equal_source_sets_get_one_name() {
        use SourceSet::{All, FirstVideo, Images, None, Videos};
        let rv2v = |videos, images| sets(GuidanceMode::Rv2v, videos, images);
        assert_eq!(rv2v(0, 2), [None, Images, Images]);
        assert_eq!(rv2v(1, 0), [None, FirstVideo, FirstVideo]);
        assert_eq!(rv2v(2, 0), [None, FirstVideo, All, All]);
        let wapg = |videos, images| sets(GuidanceMode::Rv2vWapg, videos, images);
        assert_eq!(wapg(1, 1), [None, FirstVideo, All, All, All]);
        assert_eq!(wapg(2, 1), [None, Videos, All, All, All]);
        assert_eq!(wapg(2, 0), [None, All, All, All]);
        assert_eq!(sets(GuidanceMode::R2vApg, 1, 1), [None, Images, Images]);
    }

    #[test]
    fn collapsed_forwards_do_not_run() {
        use Context::{Negative, Planned, Positive};
        let contexts = |mode, omegas| {
            let branches = branches(mode, (1, 1), omegas);
            branches.into_iter().map(|branch| branch.context).collect::<Vec<_>>()
        };
        let no_txt = Omegas { txt: 0.0, ..OMEGAS };
        assert_eq!(contexts(GuidanceMode::VaeTxtVitWapg, no_txt), [Negative, Negative, Planned]);
        let no_tgt = Omegas { tgt: -1.0, ..OMEGAS };
        let kept = contexts(GuidanceMode::VaeTxtVitWapg, no_tgt);
        assert_eq!(kept, [Negative, Negative, Positive, Planned]);
        let without = contexts(GuidanceMode::Rv2vWapg, no_tgt);
        assert_eq!(without, [Negative, Negative, Negative, Positive]);
        let reference = Schedule::new(
            &GuidanceMode::Rv2vWapg.chain(),
            Available { videos: 1, images: 1 },
            &no_tgt,
            true,
        );
        assert_eq!(reference.branches.len(), 4);
        assert_eq!(contexts(GuidanceMode::Rv2v, no_txt).len(), 4, "G.5 knows no collapse");
    }
}
