//! From workloads to the optimization profiles of every submodule.
//!
//! Experts and VAE run at one exact size, which is what their kernels are chosen for. What depends
//! on a prompt or on how long a source clip is (text, planner, context) gets a range.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::engines::{ProfileEntry, SizeRange};
use bernini_graphs::submodule::flow_head::{MAX_ROWS, MAX_STEPS};

use crate::planner_sizes::PlannerSizes;
use crate::workload::{Clip, Workload};

/// Pixels per latent along height and width.
const PIXELS_PER_LATENT: usize = 8;
/// Rows of a context: at least (spec D.8), and at most unless the workload's tokens need more.
const MIN_CONTEXT: usize = 512;
const MAX_CONTEXT: usize = 2048;
/// Steps of the flow head in preset v1 (spec D.11).
const HEAD_STEPS: usize = 5;
/// Longest prompt that the text encoder sees (spec E.3).
const MAX_TEXT: usize = 512;

/// The profiles of each submodule that the workloads need. `vision_window` is the side of the
/// vision tower's windows in pixels; without one there is no planner.
pub fn profiles(
    workloads: &[Workload],
    vision_window: Option<usize>,
) -> BTreeMap<Submodule, Vec<ProfileEntry>> {
    let planner = |workload| vision_window.map(|window| PlannerSizes::new(workload, window));
    let rows = workloads.iter().filter_map(planner).map(|sizes| sizes.longest_context()).max();
    let context = rows.map_or(MAX_CONTEXT, |rows| rows.next_multiple_of(512).max(MAX_CONTEXT));
    let mut all = Profiles { context, by_submodule: BTreeMap::new() };
    for workload in workloads {
        all.renderer(workload);
        if let Some(sizes) = planner(workload) {
            all.planner(workload, &sizes);
        }
    }
    all.by_submodule
}

struct Profiles {
    /// Most rows of a context, hence most tokens of the planner.
    context: usize,
    by_submodule: BTreeMap<Submodule, Vec<ProfileEntry>>,
}

impl Profiles {
    fn renderer(&mut self, workload: &Workload) {
        let name = &workload.name;
        let context = range(MIN_CONTEXT, MIN_CONTEXT, self.context);
        self.add(Submodule::TextEncoder, name, &[("text_tokens", range(1, MAX_TEXT, MAX_TEXT))]);
        for submodule in [Submodule::TransformerContext, Submodule::Transformer2Context] {
            self.add(submodule, name, &[("context", context)]);
        }
        for (what, tokens) in workload.token_counts() {
            let sizes = [("tokens", SizeRange::fixed(tokens)), ("context", context)];
            for submodule in [Submodule::Transformer, Submodule::Transformer2] {
                self.add(submodule, &format!("{name} {what}"), &sizes);
            }
        }
        use Submodule::{VaeDecoderFirst, VaeDecoderNext, VaeEncoderFirst, VaeEncoderNext};
        self.vae(name, workload.target, [VaeDecoderFirst, VaeDecoderNext]);
        for &source in &workload.sources {
            self.vae(name, source, [VaeEncoderFirst, VaeEncoderNext]);
        }
    }

    /// The first chunk, and the others where there are any: one latent frame each.
    fn vae(&mut self, name: &str, clip: Clip, [first, next]: [Submodule; 2]) {
        let side = |pixels| SizeRange::fixed(pixels / PIXELS_PER_LATENT);
        let sides = [("latent_height", side(clip.height)), ("latent_width", side(clip.width))];
        let name = format!("{name} {}x{}", clip.width, clip.height);
        self.add(first, &name, &sides);
        if clip.is_video() {
            let frames = ("latent_frames", SizeRange::fixed(1));
            self.add(next, &name, &[sides[0], sides[1], frames]);
        }
    }

    fn planner(&mut self, workload: &Workload, sizes: &PlannerSizes) {
        let (name, longest) = (&workload.name, self.context);
        let up_to = |opt, max| range(1, opt, max);
        if let Some(largest) = sizes.vision {
            self.add(Submodule::Vision, name, &largest.ranges());
        }
        let prefix = [
            ("batch", up_to(sizes.prefix_branches, 3)),
            ("tokens", up_to(sizes.prefix, longest)),
            ("past", SizeRange::fixed(0)),
        ];
        self.add(Submodule::PlannerLm, &format!("{name} prefix"), &prefix);
        let target = [
            ("batch", up_to(sizes.head_branches, 3)),
            ("tokens", up_to(sizes.target, longest)),
            ("past", up_to(sizes.prefix, longest)),
        ];
        self.add(Submodule::PlannerLm, &format!("{name} target"), &target);
        let rows = [
            ("batch", up_to(sizes.head_branches, 3)),
            ("rows", up_to(sizes.revealed.min(MAX_ROWS), MAX_ROWS)),
        ];
        self.add(Submodule::PredVit, name, &rows);
        self.add(Submodule::FlowHead, name, &rows);
        let steps = ("steps", up_to(HEAD_STEPS, MAX_STEPS));
        self.add(Submodule::FlowHeadModulation, name, &[rows[0], rows[1], steps]);
        let tokens = up_to(sizes.prefix + sizes.target, longest);
        self.add(Submodule::ProjGen, name, &[("tokens", tokens)]);
    }

    /// Adds a profile; where one of the same reach exists they become one, best at the larger
    /// sizes.
    fn add(&mut self, submodule: Submodule, name: &str, sizes: &[(&str, SizeRange)]) {
        let sizes: BTreeMap<_, _> = sizes.iter().map(|(name, r)| (name.to_string(), *r)).collect();
        let profiles = self.by_submodule.entry(submodule).or_default();
        let Some(same) = profiles.iter_mut().find(|profile| same_reach(&profile.sizes, &sizes))
        else {
            profiles.push(ProfileEntry { name: name.into(), sizes });
            return;
        };
        for (mine, other) in same.sizes.values_mut().zip(sizes.values()) {
            mine.opt = mine.opt.max(other.opt);
        }
        if !same.name.split(", ").any(|known| known == name) {
            same.name = format!("{}, {name}", same.name);
        }
    }
}

fn range(min: usize, opt: usize, max: usize) -> SizeRange {
    SizeRange { min, opt, max }
}

fn same_reach(a: &BTreeMap<String, SizeRange>, b: &BTreeMap<String, SizeRange>) -> bool {
    let reach = |sizes: &BTreeMap<String, SizeRange>| {
        sizes.iter().map(|(name, r)| (name.clone(), r.min, r.max)).collect::<Vec<_>>()
    };
    reach(a) == reach(b)
}

#[cfg(test)]
mod tests;
