//! Line charts.

mod axis;
mod font;
mod line;
mod mark;
mod names;
#[cfg(test)]
mod tests;

pub use line::Line;

use axis::{round_up, tick, ticks};
use font::{FONT, words, wrapped};
use mark::Mark;
use names::{Names, ROW};

use super::drawing::{Anchor, Drawing, Ink, Place, Shape};

/// Size of titles, in pixels.
const TITLE: f64 = 16.0;
/// Height of the numbers and the name below the plot.
const BELOW: f64 = 48.0;

/// How much room a chart has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The width of a page.
    Wide,
    /// The width of a phone, or of half a page.
    Narrow,
}

impl Size {
    /// Width of the chart and least height of the plot, in pixels.
    fn pixels(self) -> (f64, f64) {
        match self {
            Self::Wide => (920.0, 330.0),
            Self::Narrow => (440.0, 240.0),
        }
    }
}

/// A chart of lines over one pair of axes. An axis starts at 0, or below 0 if a line does.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// The caption above; empty for none.
    pub title: String,
    /// The name of the horizontal axis.
    pub x: &'static str,
    /// The name of the vertical axis.
    pub y: &'static str,
    /// The lines. A single line is not named.
    pub lines: Vec<Line>,
}

impl Chart {
    /// A chart with `title` and `lines`, whose axes are named `x` and `y`.
    pub fn new(title: impl Into<String>, x: &'static str, y: &'static str, lines: Vec<Line>) -> Self {
        Self { title: title.into(), x, y, lines }
    }

    /// The chart as an SVG document.
    pub fn svg(&self, size: Size) -> String {
        self.drawing(size).svg(&self.title)
    }

    /// The chart as a PDF document of one page, for papers.
    ///
    /// # Errors
    /// A character that the font of PDF lacks: it has those of Western European languages.
    pub fn pdf(&self) -> Result<Vec<u8>, char> {
        self.drawing(Size::Wide).pdf()
    }

    /// The chart in words, with the ends of its lines: what a reader needs who does not see it.
    pub fn in_words(&self) -> String {
        let Self { title, x, y, lines } = self;
        let [left, right, bottom, top] = self.limits();
        let line = |line: &Line| {
            let (first, last) = (finite(&line.points).next()?, finite(&line.points).last()?);
            let at =
                |point: Place| format!("{} at {}", tick(point.1, top - bottom), tick(point.0, right - left));
            Some(if first == last {
                format!("{}: {}", line.label, at(first))
            } else {
                format!("{}: {} to {}", line.label, at(first), at(last))
            })
        };
        let lines: Vec<String> = lines.iter().filter_map(line).collect();
        let title = if title.is_empty() { String::new() } else { format!("{title}. ") };
        format!("{title}Chart of {y} over {x}. {}.", lines.join("; "))
    }

    fn drawing(&self, size: Size) -> Drawing {
        let (width, least) = size.pixels();
        let names = Names::of(&self.lines, width);
        let [left, right, bottom, top] = self.limits();
        let rows = ticks(bottom, top, 6);
        let numbers = rows.iter().map(|value| words(&tick(*value, top - bottom), FONT)).fold(0.0, f64::max);
        let title = wrapped(&self.title, TITLE, width - 24.0);
        let head = 12.0 + 21.0 * title.len() as f64 + 24.0;
        let plot_left = 12.0 + numbers + 8.0;
        let plot_right = width - names.width().max(24.0);
        let needed = if names.width() > 0.0 { ROW * self.lines.len() as f64 } else { 0.0 };
        let (plot_top, plot_bottom) = (head, head + least.max(needed));
        let mut drawing = Drawing::new(width, plot_bottom + BELOW + names.height());
        let x = |value: f64| plot_left + (value - left) / (right - left) * (plot_right - plot_left);
        let y = |value: f64| plot_bottom - (value - bottom) / (top - bottom) * (plot_bottom - plot_top);

        for (row, text) in title.iter().enumerate() {
            drawing.bold_text((12.0, 26.0 + 21.0 * row as f64), text, TITLE);
        }
        drawing.text((12.0, head - 12.0), self.y, FONT, Anchor::Start);
        for value in rows {
            drawing.line(vec![(plot_left, y(value)), (plot_right, y(value))], Ink::Grid, 1.0);
            drawing.text((plot_left - 8.0, y(value) + 5.0), tick(value, top - bottom), FONT, Anchor::End);
        }
        drawing.line(vec![(plot_left, y(bottom)), (plot_right, y(bottom))], Ink::Text, 1.0);
        let columns = ticks(left, right, if size == Size::Wide { 9 } else { 5 });
        for value in columns {
            drawing.line(vec![(x(value), plot_bottom), (x(value), plot_bottom + 5.0)], Ink::Text, 1.0);
            drawing.text((x(value), plot_bottom + 21.0), tick(value, right - left), FONT, Anchor::Middle);
        }
        drawing.text(
            (f64::midpoint(plot_left, plot_right), plot_bottom + 41.0),
            self.x,
            FONT,
            Anchor::Middle,
        );

        let marks = Mark::of(&self.lines);
        let place = |(a, b): Place| (x(a), y(b));
        for (line, mark) in self.lines.iter().zip(&marks).filter(|(line, _)| self.has_band(line)) {
            let there = line.band.iter().map(|&(a, low, _)| place((a, low)));
            let back = line.band.iter().rev().map(|&(a, _, high)| place((a, high)));
            let points = there.chain(back).collect();
            drawing.shapes.push(Shape::Area { points, ink: mark.ink, faint: true });
        }
        let mut order: Vec<_> = self.lines.iter().zip(&marks).collect();
        order.sort_by_key(|(line, _)| line.bold);
        for (line, mark) in order {
            let points: Vec<Place> = finite(&line.points).map(place).collect();
            mark.stroke(&mut drawing, points.clone(), line.bold);
            if line.markers {
                for at in points {
                    mark.marker(&mut drawing, at);
                }
            }
        }
        let ends: Vec<Option<Place>> =
            self.lines.iter().map(|line| finite(&line.points).last().map(place)).collect();
        let inside = [plot_right, plot_top + 6.0, plot_bottom - 6.0];
        names.draw(&mut drawing, (&self.lines, &marks), &ends, inside, plot_bottom + BELOW);
        drawing
    }

    /// Whether the uncertainty of `line` is drawn. The bands of several lines would overlap.
    fn has_band(&self, line: &Line) -> bool {
        line.band.len() > 1 && (line.bold || self.lines.len() == 1)
    }

    /// The ends of the axes: left and right at the outermost points, bottom and top at round
    /// numbers.
    fn limits(&self) -> [f64; 4] {
        let points = || self.lines.iter().flat_map(|line| finite(&line.points));
        let left = points().map(|point| point.0).fold(0.0, f64::min);
        let right = points().map(|point| point.0).fold(0.0, f64::max);
        let bands = self.lines.iter().filter(|line| self.has_band(line)).flat_map(|line| &line.band);
        let top = points().map(|point| point.1).chain(bands.map(|(_, _, high)| *high)).fold(0.0, f64::max);
        let positive = |value: f64| if value > 0.0 { value } else { 1.0 };
        let lowest = points().map(|point| -point.1).fold(0.0, f64::max);
        let bottom = if lowest > 0.0 { -round_up(lowest) } else { 0.0 };
        [left, positive(right), bottom, round_up(positive(top))]
    }
}

/// The points with finite coordinates.
fn finite(points: &[Place]) -> impl Iterator<Item = Place> {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}
