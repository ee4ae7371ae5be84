//! The report as one html file that needs nothing else: tables, curves, frames side by side.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use html_escape::encode_text;

use super::{ModuleReport, OutputReport, Summary, VerifyReport};

const STYLE: &str = ":root{color-scheme:light dark}\
    body{font:15px/1.4 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:right;\
    border-bottom:1px solid #8884}td:first-child,th:first-child{text-align:left}\
    .bad{color:#d3322c;font-weight:600}.floor{opacity:.7}svg{max-width:100%;height:auto}\
    .frames{display:flex;flex-wrap:wrap;gap:.5em}figure{margin:0;width:31%}\
    figure img{width:100%;image-rendering:pixelated}";

impl VerifyReport {
    /// The whole page.
    pub fn html(&self) -> String {
        let verdict = if self.passed { "passed" } else { "<span class=bad>FAILED</span>" };
        let mut page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>bernini verify</title>\
             <style>{STYLE}</style><h1>bernini verify: {verdict}</h1>"
        );
        let sides = std::iter::once(("A", &self.a));
        for (name, side) in sides.chain(self.columns().map(|c| (c.name.as_str(), &c.side))) {
            let text = format!("{name}: {} ({})", side.folder.display(), side.numbers());
            let _ = write!(page, "<p>{}", encode_text(&text));
        }
        for warning in self.columns().flat_map(|column| &column.warnings) {
            let _ = write!(page, "<p class=bad>{}", encode_text(warning));
        }
        self.summary_table(&mut page);
        self.modules_tables(&mut page);
        self.steps(&mut page);
        self.pictures(&mut page);
        page.push_str("</html>\n");
        page
    }

    fn summary_table(&self, page: &mut String) {
        page.push_str("<h2>Options</h2><table><tr>");
        for name in Summary::HEAD {
            let _ = write!(page, "<th>{name}");
        }
        for line in &self.summary {
            let class = class(line.passed != Some(false), line.passed.is_none());
            let _ = write!(page, "<tr{class}>");
            for cell in line.cells() {
                let _ = write!(page, "<td>{}", encode_text(&cell));
            }
        }
        page.push_str("</table><p>Errors are relative L2 against A.");
        for option in &self.options {
            let (name, reason) = (encode_text(&option.name), encode_text(option.limit.reason));
            let _ = write!(page, "<p>Limit of {name}: {} ({reason})", option.limit.rel_l2);
        }
        if self.floor.is_some() {
            page.push_str(
                "<p>The floor is another valid folder against A: smaller errors mean nothing.",
            );
        }
    }

    fn modules_tables(&self, page: &mut String) {
        let mut seen: Vec<&ModuleReport> = vec![];
        for module in self.columns().flat_map(|column| &column.modules) {
            let known =
                |m: &&ModuleReport| m.submodule == module.submodule && m.sizes == module.sizes;
            if !seen.iter().any(known) {
                seen.push(module);
            }
        }
        if seen.is_empty() {
            return;
        }
        page.push_str("<h2>Submodules on equal inputs</h2>");
        seen.iter().filter_map(|module| self.layers_chart(module)).for_each(|svg| {
            page.push_str(&svg);
        });
        page.push_str(
            "<table><tr><th>output<th>option<th>rms of A<th>relative L2<th>1 − cosine<th>max abs\
             <th>NaN/Inf",
        );
        for module in seen {
            let title = format!("{} {}", module.submodule, module.sizes);
            let _ = write!(page, "<tr><th colspan=7>{}", encode_text(&title));
            for name in module.outputs.iter().map(|output| &output.name) {
                for column in self.columns() {
                    let found = column
                        .module(module)
                        .and_then(|found| found.outputs.iter().find(|output| output.name == *name));
                    let is_floor = self.floor.as_ref().is_some_and(|f| std::ptr::eq(f, column));
                    if let Some(output) = found {
                        output_line(page, name, &column.name, output, is_floor);
                    }
                }
            }
            for option in &self.options {
                let first = option.module(module).and_then(|found| found.first_beyond.as_ref());
                if let Some(first) = first {
                    let name = format!("first beyond the limit: {}", first.name);
                    output_line(page, &name, &option.name, first, false);
                }
            }
        }
        page.push_str("</table>");
    }

    fn steps(&self, page: &mut String) {
        let Some(chart) = self.steps_chart() else { return };
        let _ = write!(page, "<h2>Steps on A's latents</h2>{chart}");
        page.push_str("<p>What every step sees, relative L2:");
        for column in self.columns() {
            for condition in column.trajectory.iter().flat_map(|t| &t.conditions) {
                let text = format!("{}: {} {:.2e}", column.name, condition.name, condition.rel_l2);
                let _ = write!(page, "<br>{}", encode_text(&text));
            }
        }
    }

    fn pictures(&self, page: &mut String) {
        let Some(chart) = self.frames_chart() else { return };
        let _ = write!(page, "<h2>Frames from equal noise</h2>{chart}");
        for (index, of_a) in &self.shown {
            let _ = write!(page, "<h3>Frame {index}</h3><div class=frames>");
            figure(page, "A", of_a);
            for column in self.columns() {
                let shown = column.frames.iter().flat_map(|frames| &frames.shown);
                for (_, png) in shown.filter(|(found, _)| found == index) {
                    figure(page, &column.name, png);
                }
            }
            page.push_str("</div>");
        }
    }
}

fn class(passed: bool, is_floor: bool) -> &'static str {
    match (is_floor, passed) {
        (true, _) => " class=floor",
        (false, true) => "",
        (false, false) => " class=bad",
    }
}

fn output_line(page: &mut String, name: &str, option: &str, found: &OutputReport, floor: bool) {
    let (class, [a, b]) = (class(found.passed, floor), found.not_finite);
    let _ = write!(
        page,
        "<tr{class}><td>{}<td>{}<td>{:.3}<td>{:.2e}<td>{:.2e}<td>{:.2e}<td>{}",
        encode_text(name),
        encode_text(option),
        found.rms,
        found.rel_l2,
        1.0 - found.cosine,
        found.max_abs,
        a + b
    );
}

fn figure(page: &mut String, name: &str, png: &[u8]) {
    let (data, name) = (BASE64_STANDARD.encode(png), encode_text(name));
    let image = format!("<img alt='' src='data:image/png;base64,{data}'>");
    let _ = write!(page, "<figure>{image}<figcaption>{name}</figcaption></figure>");
}

#[cfg(test)]
mod tests {
    use bernini_graphs::Submodule;
    use bernini_graphs::manifest::{PrecisionName, Variant};

    use super::super::{Comparison, SideReport, StepReport, TrajectoryReport, limits};
    use super::*;

    fn side() -> SideReport {
        SideReport {
            folder: "<script>".into(),
            variant: Variant::Full,
            precision: PrecisionName::F32,
            policy: None,
            uncalibrated: false,
            balanced: false,
            source: String::new(),
            gpu: None,
            tensorrt: None,
        }
    }

    fn output(name: &str, rel_l2: f64) -> OutputReport {
        OutputReport {
            name: name.into(),
            values: 1,
            rms: 1.0,
            rel_l2,
            cosine: 0.5,
            max_abs: 1.0,
            not_finite: [0, 1],
            passed: rel_l2 <= 1e-4,
        }
    }

    fn compared(name: &str, errors: [f64; 2]) -> Comparison {
        let limit = limits(PrecisionName::F32, PrecisionName::F32, None);
        let mut comparison = Comparison::new(name.into(), side(), vec![], limit);
        let layers = [("tap.blocks.0.x", errors[0]), ("tap.blocks.1.x", errors[1])];
        comparison.add_module(ModuleReport {
            submodule: Submodule::Transformer,
            sizes: "tokens=6".into(),
            outputs: vec![output("velocity", errors[1])],
            layers: layers.map(|(name, error)| output(name, error)).into(),
            passed: errors[1] <= 1e-4,
            first_beyond: None,
        });
        let step = |(step, rel_l2)| {
            let (expert, passed) = ("transformer", rel_l2 <= 1e-4);
            StepReport { step, expert, rel_l2, cosine: 1.0, max_abs: 0.0, passed }
        };
        let steps: Vec<_> = errors.into_iter().enumerate().map(step).collect();
        let passed = steps.iter().all(|step| step.passed);
        comparison.add_case((Some(TrajectoryReport { conditions: vec![], steps, passed }), None));
        comparison
    }

    #[test]
    fn the_page_needs_nothing_else_and_escapes_names() {
        let options = vec![compared("<b>", [0.0, f64::NAN])];
        let page = VerifyReport::new(side(), None, options, vec![]).html();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");
        let links = page.matches("http").count();
        assert_eq!(links, page.matches("http://www.w3.org/2000/svg").count(), "{page}");
    }

    #[test]
    fn one_option_beyond_its_limit_fails_the_report_and_the_floor_judges_nothing() {
        let floor = || Some(compared("floor", [1e-3, 1e-3]));
        let report = |errors| {
            let options = vec![compared("good", [1e-5, 1e-5]), compared("other", errors)];
            VerifyReport::new(side(), floor(), options, vec![])
        };
        assert!(report([1e-5, 2e-5]).passed);
        let failed = report([1e-5, 2e-4]);
        assert!(!failed.passed);
        let verdicts: Vec<_> = failed.summary.iter().map(|line| line.passed).collect();
        assert_eq!(verdicts, [None, Some(true), Some(false)]);
        assert_eq!(failed.summary[2].steps["transformer"], 2e-4);
        let page = failed.html();
        // In the table of options, of outputs, and as a dashed line in both charts.
        assert_eq!(page.matches("class=floor").count(), 2, "{page}");
        assert_eq!(page.matches("stroke-dasharray='4 3'/><text").count(), 2, "{page}");
        // The line and its name are dashed, the points are not.
        assert_eq!(page.matches("stroke-dasharray='4 3'").count(), 4, "{page}");
        for chart in [failed.layers_chart(&failed.options[0].modules[0]), failed.steps_chart()] {
            let chart = chart.unwrap();
            for name in ["floor", "good", "other"] {
                assert!(chart.contains(&format!("<title>{name}: ")), "no {name} in {chart}");
            }
        }
        assert_eq!(failed.frames_chart(), None);
    }

    #[test]
    fn what_is_no_number_is_the_worst_of_all() {
        let summary = Summary::of_option(&compared("a", [f64::NAN, 1e-5]));
        assert_eq!(summary.steps["transformer"], f64::INFINITY);
        assert_eq!(summary.cells()[5], "–");
    }
}
