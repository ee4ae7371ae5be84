//! The report as one html file that needs nothing else: tables, a curve, frames side by side.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use html_escape::encode_text;

use super::{FramesReport, ModuleReport, TrajectoryReport, VerifyReport};

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;max-width:62em;margin:2em auto}\
    table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:right;\
    border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}\
    .bad{color:#b00020;font-weight:600}img{width:48%;image-rendering:pixelated}\
    svg{width:100%;background:#fafafa}";
/// Size of the curve's drawing area.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;

impl VerifyReport {
    /// The whole page.
    pub fn html(&self) -> String {
        let verdict = if self.passed { "passed" } else { "<span class=bad>FAILED</span>" };
        let mut page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>bernini verify</title>\
             <style>{STYLE}</style><h1>bernini verify: {verdict}</h1>"
        );
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            let folder = side.folder.display().to_string();
            let place = side.gpu.as_deref().unwrap_or("CPU");
            let text = format!("{name}: {folder} ({}, {place})", side.precision);
            let _ = write!(page, "<p>{}", encode_text(&text));
        }
        for warning in &self.warnings {
            let _ = write!(page, "<p class=bad>{}", encode_text(warning));
        }
        let reason = encode_text(self.limit.reason);
        let _ = write!(page, "<p>Limit: relative L2 {} ({reason})", self.limit.rel_l2);
        modules(&mut page, &self.modules);
        if let Some(trajectory) = &self.trajectory {
            steps(&mut page, trajectory, self.limit.rel_l2);
        }
        if let Some(frames) = &self.frames {
            pictures(&mut page, frames);
        }
        page.push_str("</html>\n");
        page
    }
}

fn modules(page: &mut String, modules: &[ModuleReport]) {
    if modules.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Submodules on equal inputs</h2><table><tr><th>output<th>rms of A<th>relative L2\
         <th>1 − cosine<th>max abs<th>NaN/Inf",
    );
    for module in modules {
        let title = format!("{} {}", module.submodule, module.sizes);
        let _ = write!(page, "<tr><th colspan=6>{}", encode_text(&title));
        for output in module.outputs.iter().chain(&module.first_beyond) {
            let class = if output.passed { "" } else { " class=bad" };
            let [a, b] = output.not_finite;
            let _ = write!(
                page,
                "<tr{class}><td>{}<td>{:.3}<td>{:.2e}<td>{:.2e}<td>{:.2e}<td>{}",
                encode_text(&output.name),
                output.rms,
                output.rel_l2,
                1.0 - output.cosine,
                output.max_abs,
                a + b
            );
        }
    }
    page.push_str("</table>");
}

/// Relative L2 over steps, a line for each expert, the limit dashed.
fn steps(page: &mut String, trajectory: &TrajectoryReport, limit: f64) {
    let finite = trajectory.steps.iter().map(|step| step.rel_l2).filter(|x| x.is_finite());
    let top = 1.1 * finite.fold(limit, f64::max).max(f64::MIN_POSITIVE);
    let last = trajectory.steps.len().saturating_sub(1).max(1) as f64;
    let x = |step: usize| 10.0 + step as f64 / last * (WIDTH - 20.0);
    // What is not finite is off the top.
    let y = |value: f64| {
        let value = if value.is_finite() { value } else { top };
        HEIGHT * (1.0 - value / top)
    };
    let _ = write!(
        page,
        "<h2>Guided velocity of each step, on A's latents</h2><svg viewBox='0 0 {WIDTH} {HEIGHT}'>\
         <path d='M0 {0:.1}H{WIDTH}' stroke='#888' stroke-dasharray='6 4'/>\
         <text x='12' y='{1:.1}'>limit {limit}</text>",
        y(limit),
        y(limit) - 4.0
    );
    for (expert, colour) in [("transformer", "#1f77b4"), ("transformer_2", "#d95f02")] {
        let steps = trajectory.steps.iter().filter(|step| step.expert == expert);
        let points: Vec<_> =
            steps.map(|step| format!("{:.1},{:.1}", x(step.step), y(step.rel_l2))).collect();
        let _ = write!(
            page,
            "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>",
            points.join(" ")
        );
    }
    page.push_str("</svg><p>Blue: high noise. Orange: low noise.");
    for condition in &trajectory.conditions {
        let name = encode_text(&condition.name);
        let _ = write!(page, "<p>{name}: relative L2 {:.2e}", condition.rel_l2);
    }
}

fn pictures(page: &mut String, frames: &FramesReport) {
    let ssim = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
    let _ = write!(
        page,
        "<h2>Frames from equal noise</h2><p>PSNR: worst {:.2} dB, mean {:.2} dB; SSIM: worst {}, \
         mean {}",
        frames.worst_psnr,
        frames.mean_psnr,
        ssim(frames.worst_ssim),
        ssim(frames.mean_ssim)
    );
    for (index, pair) in &frames.shown {
        let _ = write!(page, "<p>Frame {index}: A, B<br>");
        for png in pair {
            let data = BASE64_STANDARD.encode(png);
            let _ = write!(page, "<img alt='' src='data:image/png;base64,{data}'> ");
        }
    }
}

#[cfg(test)]
mod tests {
    use bernini_graphs::Submodule;
    use bernini_graphs::manifest::{PrecisionName, Variant};

    use super::super::{OutputReport, SideReport, StepReport, limits};
    use super::*;

    #[test]
    fn the_page_needs_nothing_else_and_escapes_names() {
        let side = || SideReport {
            folder: "<script>".into(),
            variant: Variant::Full,
            precision: PrecisionName::F32,
            policy: None,
            uncalibrated: false,
            source: String::new(),
            gpu: None,
            tensorrt: None,
        };
        let limit = limits(PrecisionName::F32, PrecisionName::F32, None);
        let mut report = VerifyReport::new(side(), side(), vec![], limit);
        let output = OutputReport {
            name: "velocity".into(),
            values: 1,
            rms: 1.0,
            rel_l2: f64::NAN,
            cosine: 0.5,
            max_abs: 1.0,
            not_finite: [0, 1],
            passed: false,
        };
        let (submodule, outputs) = (Submodule::Transformer, vec![output]);
        let module = ModuleReport {
            submodule,
            sizes: String::new(),
            outputs,
            passed: false,
            first_beyond: None,
        };
        report.add_module(module);
        let step = |step, rel_l2| {
            let expert = "transformer";
            StepReport { step, expert, rel_l2, cosine: 1.0, max_abs: 0.0, passed: false }
        };
        let steps = vec![step(0, 0.0), step(1, f64::NAN), step(2, 1.0)];
        let trajectory = TrajectoryReport { conditions: vec![], steps, passed: false };
        report.add_case((Some(trajectory), None));
        let page = report.html();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        assert!(page.contains("FAILED") && !page.contains("http"));
        // Steps 0 to 2: at the bottom, off the top, at 1 of 1.1.
        assert!(page.contains("10.0,260.0 450.0,0.0 890.0,23.6"), "{page}");
    }
}
