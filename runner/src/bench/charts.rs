//! The report as two drawings that need nothing else, on a light or a dark page.

use std::fmt::Write;

use html_escape::encode_text;

use super::BenchReport;

/// Size of a drawing and of its parts, in pixels.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const BAR: f64 = 18.0;
const LINE: f64 = 24.0;
/// Room behind the longest bar for its number.
const RIGHT: f64 = 100.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.quiet{fill:#59636e}\
    .title{font-weight:600}.ours{fill:#1a7f37}.peer{fill:#9aa4af}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}\
    .ours{fill:#3fb950}.peer{fill:#656c76}}";

/// One colour for each kind of layer, whatever the page; the last is for all kinds that are left.
const COLOURS: [&str; 8] =
    ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#b07aa1", "#c9a227", "#8a8f98"];

/// A bar for every work that a peer has measured too, and one for each peer; bars of one work are in
/// proportion. `None` where there is none.
pub fn speed_chart(reports: &[BenchReport]) -> Option<String> {
    let mut groups: Vec<(String, Vec<(String, f64)>)> = vec![];
    for report in reports {
        let Some(peers) = &report.peers else { continue };
        let identity = &report.machine.identity;
        let precision = identity.precision.to_string();
        let us = format!("bernini {}", identity.policy.as_ref().unwrap_or(&precision));
        let timings = report.timings.iter().map(|timing| (&timing.name, Some(timing.p50.value)));
        let stages = report.stages.iter().map(|s| (&s.name, s.seconds.map(|s| 1e3 * s)));
        for (name, milliseconds) in timings.chain(stages) {
            let (peers, known) = (peers.at(name), groups.iter().any(|(known, _)| known == name));
            if let (Some(milliseconds), false, false) = (milliseconds, peers.is_empty(), known) {
                let ours = [(us.clone(), milliseconds)];
                groups.push((name.clone(), ours.into_iter().chain(peers).collect()));
            }
        }
    }
    if groups.is_empty() {
        return None;
    }
    let mut body = String::new();
    let mut y = 0.0;
    for (name, bars) in &groups {
        title(&mut body, &mut y, name);
        let longest = bars.iter().map(|(_, milliseconds)| *milliseconds).fold(0.0, f64::max);
        for (index, (what, milliseconds)) in bars.iter().enumerate() {
            let width = (WIDTH - LEFT - RIGHT) * milliseconds / longest;
            let class = if index == 0 { "ours" } else { "peer" };
            text(&mut body, "x='0'", y, if index == 0 { "" } else { "quiet" }, what);
            rectangle(&mut body, LEFT, y, width, &format!("class='{class}'"));
            let at = format!("x='{:.1}'", LEFT + width + 6.0);
            text(&mut body, &at, y, "", &duration(*milliseconds));
            y += LINE;
        }
    }
    Some(page("Time of each work, less is better", &body, y))
}

/// A bar for every submodule whose layers were timed, in proportion to their kinds, with a line
/// for each kind. `None` where none were.
pub fn layers_chart(reports: &[BenchReport]) -> Option<String> {
    let timings = || reports.iter().flat_map(|report| &report.timings);
    timings().find(|timing| !timing.layers.is_empty())?;
    let mut seen: Vec<&str> = vec![];
    let mut colour = |kind| {
        let index = seen.iter().position(|known| *known == kind).unwrap_or(seen.len());
        if index == seen.len() {
            seen.push(kind);
        }
        COLOURS[index.min(COLOURS.len() - 1)]
    };
    let mut body = String::new();
    let mut y = 0.0;
    for timing in timings().filter(|timing| !timing.layers.is_empty()) {
        let kinds = timing.kinds();
        let total: f64 = kinds.iter().map(|(_, milliseconds)| milliseconds).sum();
        title(&mut body, &mut y, &format!("{}: {}", timing.name, duration(total)));
        let mut x = 0.0;
        for (kind, milliseconds) in &kinds {
            let width = WIDTH * milliseconds / total;
            rectangle(&mut body, x, y, width, &format!("fill='{}'", colour(kind)));
            x += width;
        }
        y += LINE + 6.0;
        for (kind, milliseconds) in &kinds {
            rectangle(&mut body, 0.0, y, BAR, &format!("fill='{}'", colour(kind)));
            text(&mut body, &format!("x='{LINE}'"), y, "", kind);
            text(&mut body, "x='260' text-anchor='end'", y, "", &duration(*milliseconds));
            let share = format!("{:.1} %", 100.0 * milliseconds / total);
            text(&mut body, "x='340' text-anchor='end'", y, "quiet", &share);
            y += LINE;
        }
    }
    Some(page("Where the time of one run goes", &body, y))
}

fn page(label: &str, body: &str, height: f64) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{label}' \
         viewBox='-10 -10 {} {}' width='{}'><style>{STYLE}</style>\n{body}</svg>\n",
        WIDTH + 20.0,
        height + 20.0,
        WIDTH + 20.0
    )
}

fn title(body: &mut String, y: &mut f64, name: &str) {
    *y += if *y > 0.0 { LINE / 2.0 } else { 0.0 };
    text(body, "x='0'", *y, "title", name);
    *y += LINE;
}

/// A line of text whose bar would begin at `y`.
fn text(body: &mut String, place: &str, y: f64, class: &str, text: &str) {
    let (y, text) = (y + 0.75 * BAR, encode_text(text));
    let _ = writeln!(body, "<text {place} y='{y:.1}' class='{class}'>{text}</text>");
}

fn rectangle(body: &mut String, x: f64, y: f64, width: f64, paint: &str) {
    let _ =
        writeln!(body, "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{BAR}' {paint}/>");
}

fn duration(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms >= 1000.0 => format!("{:.2} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_only_of_what_a_peer_has_done() {
        let chart = speed_chart(&[report(), report()]).unwrap();
        // The expert takes 2 ms, its slowest peer 8; the decoded clip 4, its slowest peer 18.
        assert_eq!(chart.matches("class='ours'").count(), 2, "{chart}");
        assert_eq!(chart.matches("class='peer'").count(), 4, "{chart}");
        let longest = WIDTH - LEFT - RIGHT;
        for width in [longest, longest * 2.0 / 8.0, longest * 4.0 / 18.0] {
            assert!(chart.contains(&format!("width='{width:.1}'")), "{width} in {chart}");
        }
        let mut alone = report();
        alone.peers = None;
        assert_eq!(speed_chart(&[alone]), None);
    }

    #[test]
    fn a_stacked_bar_has_a_part_and_a_line_for_each_kind() {
        let chart = layers_chart(&[report()]).unwrap();
        for part in ["width='475.0'", "width='285.0'", "x='475.0'", "62.5 %", "37.5 %"] {
            assert!(chart.contains(part), "no {part} in {chart}");
        }
        let mut without = report();
        without.timings.iter_mut().for_each(|timing| timing.layers.clear());
        assert_eq!(layers_chart(&[without]), None);
    }

    #[test]
    fn a_drawing_needs_nothing_else_and_escapes_names() {
        let mut report = report();
        report.timings[1].name = "<script>".into();
        report.timings[1].layers = report.timings.iter().flat_map(|t| t.layers.clone()).collect();
        let chart = layers_chart(&[report]).unwrap();
        assert!(chart.contains("&lt;script&gt;") && !chart.contains("<script"), "{chart}");
        assert_eq!(chart.matches("http").count(), 1, "the name of the format alone: {chart}");
        assert!(chart.contains("prefers-color-scheme:dark"));
    }
}
