//! How much the planner has to do in a workload (spec C.2, C.5, D). Only what kernels are chosen
//! for depends on it: the ranges serve other clips and prompts too.

use bernini_graphs::engines::SizeRange;

use crate::workload::{Clip, Workload};

/// Pixels along a side of a merged token.
const MERGED_PIXELS: usize = 28;
/// Fewest and most pixels of a frame in the vision tower, and so most merged tokens.
const MIN_PIXELS: f64 = 3136.0;
const MAX_PIXELS: f64 = 50_176.0;
const MAX_FRAME_TOKENS: usize = 64;
/// Frames of a clip per temporal slice of the vision tower: 16 frames a second, of which it sees
/// two, and joins two.
const FRAMES_PER_SLICE: usize = 16;
/// Temporal slices that every vision engine takes: a clip of half a minute.
const MAX_SLICES: usize = 32;
/// Tokens of a typical prompt with its role tags.
const TYPICAL_TEXT: usize = 128;
/// Longest text that is planned for, in each of the two text encoders.
const LONG_TEXT: usize = 512;
/// MaskGIT steps of the presets (spec D.11).
const PLANNING_STEPS: usize = 25;

/// One source in the vision tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VisionGrid {
    slices: usize,
    rows: usize,
    columns: usize,
    /// Merged tokens along a side of a window.
    window: usize,
}

impl VisionGrid {
    fn new(clip: Clip, window: usize) -> Self {
        let [columns, rows] = merged(clip);
        let slices = (clip.frames / FRAMES_PER_SLICE).max(1);
        Self { slices, rows, columns, window: (window / MERGED_PIXELS).max(1) }
    }

    fn tokens(self) -> usize {
        self.slices * self.rows * self.columns
    }

    fn windows(self) -> usize {
        self.slices * self.rows.div_ceil(self.window) * self.columns.div_ceil(self.window)
    }

    /// Every symbol of the vision tower's ports.
    pub(crate) fn ranges(self) -> [(&'static str, SizeRange); 3] {
        let slices = self.slices.max(MAX_SLICES);
        let frame_tokens = self.rows * self.columns;
        // A frame of one row has the most windows.
        let windows = slices * MAX_FRAME_TOKENS.max(frame_tokens).div_ceil(self.window);
        let range = |opt, max| SizeRange { min: 1, opt, max };
        [
            ("frames", range(self.slices, slices)),
            ("frame_tokens", range(frame_tokens, MAX_FRAME_TOKENS.max(frame_tokens))),
            ("windows", range(self.windows(), windows)),
        ]
    }
}

/// Merged tokens along width and height (C.5).
fn merged(clip: Clip) -> [usize; 2] {
    let sides = [clip.width, clip.height].map(|side| side as f64);
    let unit = MERGED_PIXELS as f64;
    let tokens = sides.map(|side| (side / unit).round_ties_even());
    let scale = |limit: f64| (sides[0] * sides[1] / limit).sqrt();
    let tokens = match tokens[0] * tokens[1] * unit * unit {
        pixels if pixels > MAX_PIXELS => {
            sides.map(|side| (side / scale(MAX_PIXELS) / unit).floor())
        }
        pixels if pixels < MIN_PIXELS => sides.map(|side| (side / scale(MIN_PIXELS) / unit).ceil()),
        _ => tokens,
    };
    tokens.map(|n| (n as usize).max(1))
}

/// Token counts of a request with a prompt of typical length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannerSizes {
    /// The largest source in the vision tower.
    pub(crate) vision: Option<VisionGrid>,
    /// Tokens of the longest branch without the target's.
    pub(crate) prefix: usize,
    /// Tokens of the target.
    pub(crate) target: usize,
    /// Branches whose prefix runs (D.3).
    pub(crate) prefix_branches: usize,
    /// Branches that the flow head's guidance runs (D.9, presets).
    pub(crate) head_branches: usize,
    /// Target tokens that a MaskGIT step reveals, on average.
    pub(crate) revealed: usize,
    sources: usize,
}

impl PlannerSizes {
    /// `window` is the side of the vision tower's windows in pixels.
    pub(crate) fn new(workload: &Workload, window: usize) -> Self {
        let grids = workload.sources.iter().map(|&clip| VisionGrid::new(clip, window));
        let sources: usize = grids.clone().map(VisionGrid::tokens).sum();
        let target = VisionGrid::new(workload.target, window).tokens();
        let sourced = !workload.sources.is_empty();
        Self {
            vision: grids.max_by_key(|grid| grid.tokens()),
            prefix: TYPICAL_TEXT + sources,
            target,
            prefix_branches: if sourced { 3 } else { 2 },
            head_branches: if sourced { 2 } else { 1 },
            revealed: target.div_ceil(PLANNING_STEPS),
            sources,
        }
    }

    /// Rows of the longest context: both texts, sources and target (D.8).
    pub(crate) fn longest_context(&self) -> usize {
        2 * LONG_TEXT + self.sources + self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grids of spec C.5: 832×480 and 1280×720 become 280×168, 512×512 becomes 224×224.
    #[test]
    fn grids_are_those_of_the_specification() {
        let grid = |width, height| merged(Clip { width, height, frames: 1 });
        assert_eq!(grid(832, 480), [10, 6]);
        assert_eq!(grid(1280, 720), [10, 6]);
        assert_eq!(grid(512, 512), [8, 8]);
        assert_eq!(grid(480, 832), [6, 10]);
        assert_eq!(grid(16, 16), [2, 2]);
        assert_eq!(grid(112, 96), [4, 3]);
        let sliver = grid(4096, 16);
        assert!(sliver[0] * sliver[1] > 0);
    }

    #[test]
    fn ranges_hold_what_kernels_are_chosen_for() {
        for window in [4, 1, 3] {
            for (slices, rows, columns) in [(5, 6, 10), (63, 8, 8), (1, 1, 64), (1, 1, 130)] {
                for (name, r) in (VisionGrid { slices, rows, columns, window }).ranges() {
                    assert!(r.min <= r.opt && r.opt <= r.max, "{name}: {r:?}");
                }
            }
        }
    }
}
