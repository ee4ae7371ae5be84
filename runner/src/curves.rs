//! Curves as a drawing: errors over steps, over the layers of a graph, over the work in FP8.

mod scale;

use std::fmt::Write;

use html_escape::{encode_single_quoted_attribute, encode_text};

pub use scale::Scale;

use crate::svg::{COLOURS, WIDTH, page};

/// Room for numbers, and the height of the drawing area, in pixels.
const LEFT: f64 = 64.0;
const HEIGHT: f64 = 260.0;
/// Room above it for the title.
const TOP: f64 = 36.0;
/// Height of a line of text.
const LINE: f64 = 22.0;
/// A dashed line is far below the others where it is this part of them.
const FAR: f64 = 1e-2;

/// A drawing of some lines.
#[derive(Clone, Debug)]
pub struct Curves<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What lies along the horizontal axis.
    pub x: &'a str,
    /// How values become heights.
    pub scale: Scale,
    /// Places on the horizontal axis with a word below.
    pub ticks: Vec<(f64, String)>,
    /// The lines; those of one name have one colour and are named once.
    pub lines: Vec<Line>,
    /// Heights that mean something, such as a limit.
    pub bounds: Vec<(String, f64)>,
    /// The point that was chosen: its place and what to say of it.
    pub mark: Option<([f64; 2], String)>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points from left to right; what is not finite is off the top.
    pub points: Vec<[f64; 2]>,
    /// Dashed and grey: something to compare the others with.
    pub dashed: bool,
}

impl Line {
    fn dash(&self) -> &'static str {
        if self.dashed { " stroke-dasharray='4 3'" } else { "" }
    }
}

impl Curves<'_> {
    /// The drawing.
    pub fn svg(&self) -> String {
        let (bottom, top) = self.range();
        let (left, right) = self.width();
        let x = |value: f64| LEFT + (value - left) / (right - left) * (WIDTH - LEFT - 10.0);
        let scaled = |value: f64| self.scale.scaled(value);
        let y = |value: f64| {
            let share = (scaled(value) - bottom) / (top - bottom);
            // NaN is worse than any number.
            let share = if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) };
            TOP + HEIGHT * (1.0 - share)
        };
        let mut body =
            format!("<text x='0' y='12' class='title'>{}</text>", encode_text(self.title));
        for (value, name) in self.scale.grid(bottom, top) {
            let y = y(value);
            let _ = writeln!(
                body,
                "<path d='M{LEFT} {y:.1}H{WIDTH}' class='grid'/><text x='{:.1}' y='{:.1}' \
                 text-anchor='end' class='quiet'>{name}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        for (name, value) in &self.bounds {
            let (y, name) = (y(*value), encode_text(name));
            let _ = writeln!(
                body,
                "<path d='M{LEFT} {y:.1}H{WIDTH}' stroke='#b00020' stroke-dasharray='6 4'/>\
                 <text x='{WIDTH}' y='{:.1}' text-anchor='end'>{name}</text>",
                y - 5.0
            );
        }
        let below = TOP + HEIGHT + 16.0;
        for (value, name) in &self.ticks {
            let (x, name) = (x(*value), encode_text(name));
            let _ = writeln!(
                body,
                "<text x='{x:.1}' y='{below:.1}' text-anchor='middle' class='quiet'>{name}</text>"
            );
        }
        let (middle, label) = ((LEFT + WIDTH) / 2.0, encode_text(self.x));
        let _ = writeln!(
            body,
            "<text x='{middle:.1}' y='{:.1}' text-anchor='middle' class='quiet'>{label}</text>",
            below + LINE
        );
        self.draw(&mut body, x, y);
        if let Some(([at, value], text)) = &self.mark {
            let (x, y, text) = (x(*at), y(*value), encode_text(text));
            let _ = writeln!(
                body,
                "<circle cx='{x:.1}' cy='{y:.1}' r='7' fill='none' stroke='#1a7f37' \
                 stroke-width='3'/><text x='{:.1}' y='{:.1}'>{text}</text>",
                x + 12.0,
                y + 18.0
            );
        }
        let height = self.legend(&mut body, below + 1.5 * LINE);
        page(&encode_single_quoted_attribute(self.title), &body, height)
    }

    fn draw(&self, body: &mut String, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
        for (line, colour) in self.lines.iter().zip(self.colours()) {
            let points = || line.points.iter().map(|&[at, value]| (x(at), y(value)));
            let path: Vec<_> = points().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                body,
                "<polyline points='{}' fill='none' stroke-width='2' stroke='{colour}'{}/>",
                path.join(" "),
                line.dash()
            );
            let name = encode_text(&line.name);
            for ((x, y), [_, value]) in points().zip(&line.points) {
                let value = self.scale.name(*value);
                let _ = writeln!(
                    body,
                    "<circle cx='{x:.1}' cy='{y:.1}' r='2.5' fill='none' stroke='{colour}'>\
                     <title>{name}: {value}</title></circle>"
                );
            }
        }
    }

    /// The colour of each line.
    fn colours(&self) -> Vec<&'static str> {
        let (mut seen, mut colours) = (vec![], vec![]);
        for line in &self.lines {
            if line.dashed {
                colours.push("#8a8f98");
                continue;
            }
            let index = seen.iter().position(|name| *name == line.name).unwrap_or(seen.len());
            if index == seen.len() {
                seen.push(line.name.as_str());
            }
            colours.push(COLOURS[index.min(COLOURS.len() - 1)]);
        }
        colours
    }

    /// A line for each name; gives where the drawing ends.
    fn legend(&self, body: &mut String, top: f64) -> f64 {
        let mut named: Vec<&str> = vec![];
        for (line, colour) in self.lines.iter().zip(self.colours()) {
            if named.contains(&line.name.as_str()) {
                continue;
            }
            let y = top + LINE * named.len() as f64;
            let bottom = self.range().0 - 1e-9;
            let below = line.points.iter().all(|point| self.scale.scaled(point[1]) < bottom);
            let name = format!("{}{}", line.name, if below { ", below the drawing" } else { "" });
            let name = encode_text(&name);
            let _ = writeln!(
                body,
                "<path d='M{LEFT} {:.1}h28' stroke-width='2' stroke='{colour}'{}/>\
                 <text x='{:.1}' y='{:.1}'>{name}</text>",
                y + 8.0,
                line.dash(),
                LEFT + 38.0,
                y + 12.0
            );
            named.push(&line.name);
        }
        top + LINE * named.len() as f64
    }

    /// Lowest and highest value of the drawing area, scaled. Dashed lines far below all others do
    /// not flatten those.
    fn range(&self) -> (f64, f64) {
        let of = |line: &Line| line.points.iter().map(|point| point[1]).collect::<Vec<_>>();
        let (dashed, solid): (Vec<_>, Vec<_>) = self.lines.iter().partition(|line| line.dashed);
        let solid: Vec<f64> = solid.into_iter().flat_map(of).collect();
        let lowest = solid.iter().copied().filter(|&x| x > 0.0).fold(f64::INFINITY, f64::min);
        let near = |x: &f64| lowest.is_infinite() || *x > FAR * lowest;
        let dashed = dashed.into_iter().flat_map(of).filter(near);
        let bounds = self.bounds.iter().map(|(_, value)| *value);
        self.scale.range(&solid.iter().copied().chain(dashed).chain(bounds).collect::<Vec<_>>())
    }

    fn width(&self) -> (f64, f64) {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().map(|point| point[0]));
        let all = || points().chain(self.ticks.iter().map(|(value, _)| *value));
        let (left, right) =
            (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        match (left, right) {
            (left, right) if left < right => (left, right),
            (left, _) if left.is_finite() => (left - 1.0, left + 1.0),
            _ => (0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: &[[f64; 2]]) -> Line {
        Line { name: name.into(), points: points.into(), dashed: false }
    }

    fn curves(lines: Vec<Line>) -> Curves<'static> {
        Curves {
            title: "errors",
            x: "step",
            scale: Scale::Errors,
            ticks: vec![(0.0, "0".into())],
            lines,
            bounds: vec![("limit".into(), 1e-1)],
            mark: None,
        }
    }

    #[test]
    fn errors_are_placed_by_powers_of_ten_and_what_is_not_finite_off_the_top() {
        let points = [[0.0, 1e-3], [1.0, 1e-2], [2.0, f64::NAN], [3.0, 0.0]];
        let svg = curves(vec![line("plain", &points)]).svg();
        // From 1e-3 to the limit of 1e-1: bottom, middle, top, bottom.
        assert!(svg.contains("'64.0,296.0 292.7,166.0 521.3,36.0 750.0,296.0'"), "{svg}");
        assert!(svg.contains("plain: 1.00e-2"), "{svg}");
        let decibels = Curves {
            scale: Scale::Decibels,
            bounds: vec![("limit".into(), 20.0)],
            ..curves(vec![line("a", &[[0.0, 35.0], [1.0, f64::INFINITY]])])
        };
        assert!(decibels.svg().contains("'64.0,101.0 750.0,36.0'"), "{}", decibels.svg());
    }

    #[test]
    fn lines_of_one_name_share_a_colour_and_are_named_once() {
        let two = [[0.0, 1e-3], [1.0, 1e-2]];
        let svg = curves(vec![line("<a>", &two), line("b", &two), line("<a>", &two)]).svg();
        assert_eq!(svg.matches(">&lt;a&gt;</text>").count(), 1, "{svg}");
        let painted = |colour| svg.matches(&format!("stroke-width='2' stroke='{colour}'")).count();
        assert_eq!((painted(COLOURS[0]), painted(COLOURS[1])), (3, 2), "{svg}");
        assert!(!svg.contains("<a>") && svg.matches("http").count() == 1, "{svg}");
    }

    #[test]
    fn a_floor_far_below_leaves_room_for_what_it_is_compared_with() {
        let floor = |error| Line { dashed: true, ..line("floor", &[[0.0, error], [1.0, error]]) };
        let plain = || line("plain", &[[0.0, 0.02], [1.0, 0.05]]);
        let svg = curves(vec![floor(1e-7), plain()]).svg();
        assert!(svg.contains("floor, below the drawing") && !svg.contains(">1e-3<"), "{svg}");
        assert!(svg.contains(">2e-2<") && svg.contains(">5e-2<"), "{svg}");
        let near = curves(vec![floor(1e-3), plain()]).svg();
        assert!(!near.contains("below the drawing") && near.contains(">1e-3<"), "{near}");
    }

    #[test]
    fn a_drawing_of_nothing_but_zeros_or_of_one_point_is_still_one() {
        let alone = Curves { bounds: vec![], ..curves(vec![line("a", &[[0.0, 0.0]])]) };
        let svg = alone.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
