//! The report as two drawings.

use std::fmt::Write;

use html_escape::encode_text;

use super::BenchReport;
use crate::svg::{COLOURS, WIDTH, page};

/// Sizes of its parts, in pixels.
const LEFT: f64 = 210.0;
const BAR: f64 = 18.0;
const LINE: f64 = 24.0;
/// Room behind the longest bar for its number.
const RIGHT: f64 = 100.0;

/// What took how many milliseconds at one work.
struct Group {
    name: String,
    ours: Vec<(String, f64)>,
    peers: Vec<(String, f64)>,
}

/// A bar for every work that a peer has measured too, and one for each peer; bars of one work are in
/// proportion. `None` where there is none.
pub fn speed_chart(reports: &[BenchReport]) -> Option<String> {
    let mut groups: Vec<Group> = vec![];
    for report in reports {
        let Some(peers) = &report.peers else { continue };
        let us = format!("bernini {}", report.machine.label(reports));
        let timings = report.timings.iter().map(|timing| (&timing.name, Some(timing.p50.value)));
        let stages = report.stages.iter().map(|s| (&s.name, s.seconds.map(|s| 1e3 * s)));
        for (name, milliseconds) in timings.chain(stages) {
            let (Some(milliseconds), peers) = (milliseconds, peers.at(name)) else { continue };
            let ours = (us.clone(), milliseconds);
            match groups.iter_mut().find(|group| group.name == *name) {
                // One workload may run what another one does.
                Some(group) if group.ours.iter().any(|(known, _)| *known == us) => {}
                Some(group) => group.ours.push(ours),
                None if peers.is_empty() => {}
                None => groups.push(Group { name: name.clone(), ours: vec![ours], peers }),
            }
        }
    }
    if groups.is_empty() {
        return None;
    }
    let mut body = String::new();
    let mut y = 0.0;
    for Group { name, ours, peers } in &groups {
        title(&mut body, &mut y, name);
        let bars = || ours.iter().chain(peers);
        let longest = bars().map(|(_, milliseconds)| *milliseconds).fold(0.0, f64::max);
        for (index, (what, milliseconds)) in bars().enumerate() {
            let width = (WIDTH - LEFT - RIGHT) * milliseconds / longest;
            let [bar, label] = if index < ours.len() { ["ours", ""] } else { ["peer", "quiet"] };
            text(&mut body, "x='0'", y, label, what);
            rectangle(&mut body, LEFT, y, width, &format!("class='{bar}'"));
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
    let timings = || {
        let all = reports.iter().flat_map(|report| report.timings.iter().map(move |t| (report, t)));
        all.filter(|(_, timing)| !timing.layers.is_empty())
    };
    timings().next()?;
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
    for (report, timing) in timings() {
        let kinds = timing.kinds();
        let total: f64 = kinds.iter().map(|(_, milliseconds)| milliseconds).sum();
        let numbers = report.machine.label(reports);
        title(&mut body, &mut y, &format!("{numbers}, {}: {}", timing.name, duration(total)));
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
        let mut other = report();
        other.machine.identity.policy = Some("all-fp8".into());
        let both = speed_chart(&[report(), other]).unwrap();
        assert_eq!(both.matches("class='ours'").count(), 4, "{both}");
        assert_eq!(both.matches("class='peer'").count(), 4, "{both}");
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
