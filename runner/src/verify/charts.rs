//! The curves of a report: errors along a graph and along the steps, frames in decibels.

use super::summary::EXPERTS;
use super::{Comparison, ModuleReport, VerifyReport};
use crate::curves::{Curves, Line, Scale};

/// Words below an axis have room for so many.
const TICKS: usize = 10;

impl VerifyReport {
    /// Relative L2 of every named value of the graph that `module` is a result of, a line for each
    /// folder; `None` where there are no taps.
    pub fn layers_chart(&self, module: &ModuleReport) -> Option<String> {
        let of = |column: &Comparison| column.module(module).map(|found| found.layers.clone());
        // In the order of A's graph, of which every folder may have some.
        let longest = self.columns().filter_map(of).max_by_key(Vec::len)?;
        let names: Vec<String> = longest.into_iter().map(|layer| layer.name).collect();
        if names.is_empty() {
            return None;
        }
        let place = |name: &str| names.iter().position(|known| known == name);
        let points = |column: &Comparison| {
            let layers = of(column).unwrap_or_default();
            let points =
                layers.iter().map(|layer| Some([place(&layer.name)? as f64, layer.rel_l2]));
            points.flatten().collect()
        };
        let title = format!("Relative L2 inside {} {}", module.submodule, module.sizes);
        let starts: Vec<_> = (0..names.len())
            .filter(|&i| i == 0 || block(&names[i]) != block(&names[i - 1]))
            .map(|i| (i as f64, block(&names[i]).to_string()))
            .collect();
        let chart = Curves {
            title: &title,
            x: "named values in the order of the graph",
            scale: Scale::Errors,
            ticks: thinned(starts),
            lines: self.lines(points),
            bounds: self.bounds(),
            mark: None,
        };
        Some(chart.svg())
    }

    /// Relative L2 of every step, a line for each folder and expert; `None` without level B.
    pub fn steps_chart(&self) -> Option<String> {
        let steps = &self.columns().find_map(|column| column.trajectory.as_ref())?.steps;
        let ticks = steps.iter().map(|step| (step.step as f64, step.step.to_string())).collect();
        let lines = EXPERTS.into_iter().flat_map(|expert| {
            self.lines(|column| {
                let steps = column.trajectory.iter().flat_map(|trajectory| &trajectory.steps);
                let of = steps.filter(|step| step.expert == expert);
                of.map(|step| [step.step as f64, step.rel_l2]).collect()
            })
        });
        let high = steps.iter().filter(|step| step.expert == EXPERTS[0]).count();
        let x = format!("step; those before {high} are the high-noise expert's");
        let chart = Curves {
            title: "Relative L2 of the guided velocity, on A's latents",
            x: &x,
            scale: Scale::Errors,
            ticks: thinned(ticks),
            lines: lines.collect(),
            bounds: self.bounds(),
            mark: None,
        };
        Some(chart.svg())
    }

    /// PSNR of every frame, a line for each folder; `None` without level C.
    pub fn frames_chart(&self) -> Option<String> {
        let frames = &self.columns().find_map(|column| column.frames.as_ref())?.frames;
        let ticks = frames.iter().map(|frame| (frame.frame as f64, frame.frame.to_string()));
        let points = |column: &Comparison| {
            let frames = column.frames.iter().flat_map(|frames| &frames.frames);
            frames.map(|frame| [frame.frame as f64, frame.psnr]).collect()
        };
        let limits = self.options.iter().map(|option| option.limit.psnr);
        let chart = Curves {
            title: "PSNR of every frame from equal noise",
            x: "frame",
            scale: Scale::Decibels,
            ticks: thinned(ticks.collect()),
            lines: self.lines(points),
            bounds: named(limits, " dB"),
            mark: None,
        };
        Some(chart.svg())
    }

    fn lines(&self, points: impl Fn(&Comparison) -> Vec<[f64; 2]>) -> Vec<Line> {
        let line = |(column, dashed): (&Comparison, bool)| Line {
            name: column.name.clone(),
            points: points(column),
            dashed,
        };
        let floor = self.floor.iter().map(|floor| (floor, true));
        let lines = floor.chain(self.options.iter().map(|option| (option, false))).map(line);
        lines.filter(|line| !line.points.is_empty()).collect()
    }

    fn bounds(&self) -> Vec<(String, f64)> {
        named(self.options.iter().map(|option| option.limit.rel_l2), "")
    }
}

/// Distinct limits with their names.
fn named(limits: impl Iterator<Item = f64>, unit: &str) -> Vec<(String, f64)> {
    let mut bounds: Vec<(String, f64)> = vec![];
    for limit in limits {
        if bounds.iter().all(|(_, known)| *known != limit) {
            bounds.push((format!("limit {limit}{unit}"), limit));
        }
    }
    bounds
}

/// Where a named value lies: `blocks.3` of `tap.blocks.3.after_ffn`.
fn block(name: &str) -> &str {
    let name = name.split_once('.').map_or(name, |(_, path)| path);
    name.rsplit_once('.').map_or(name, |(path, _)| path)
}

/// So few that their words do not meet.
fn thinned(ticks: Vec<(f64, String)>) -> Vec<(f64, String)> {
    let step = ticks.len().div_ceil(TICKS).max(1);
    ticks.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_names_blocks_and_not_too_many() {
        assert_eq!(block("tap.blocks.3.after_ffn"), "blocks.3");
        assert_eq!(block("tap.x"), "x");
        let ticks = thinned((0..41).map(|i| (i as f64, i.to_string())).collect());
        assert_eq!(ticks.len(), 9);
        assert_eq!(thinned(vec![]), []);
    }
}
