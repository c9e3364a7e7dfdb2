//! Line charts as SVG.
//!
//! The SVG holds only shapes and text: no script, no font file, no style sheet. Its background is
//! white, so that it looks the same on a dark page. Lines differ in colour (Okabe and Ito's
//! palette, safe for the colour-blind) and in the shape of their markers.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{round_up, tick};
use super::line::Line;

/// Okabe and Ito's colours without yellow, which is too light for a line on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(229, 229, 229);
const FONT: &str = "system-ui, sans-serif";

/// Width of the plot with its axes, and height of the picture, in pixels.
const SIZE: (u32, u32) = (640, 400);
/// Opacity of bands, faint enough for several to overlap.
const BAND: f64 = 0.13;

/// A chart of lines over one pair of axes. An axis starts at 0, or below 0 if a line does.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// The caption above; empty for none.
    pub title: String,
    /// The name of the horizontal axis.
    pub x: &'static str,
    /// The name of the vertical axis.
    pub y: &'static str,
    /// The lines. A single line has no legend.
    pub lines: Vec<Line>,
}

impl Chart {
    /// A chart with `title` and `lines`, whose axes are named `x` and `y`.
    pub fn new(title: impl Into<String>, x: &'static str, y: &'static str, lines: Vec<Line>) -> Self {
        Self { title: title.into(), x, y, lines }
    }

    /// The chart as an SVG document.
    ///
    /// # Errors
    /// If the drawing library fails.
    pub fn svg(&self) -> anyhow::Result<String> {
        let legend = if self.lines.len() > 1 { self.legend_width() } else { 0 };
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, (SIZE.0 + legend, SIZE.1)).into_drawing_area();
        self.draw(&root, legend > 0)
            .map_err(|error| anyhow!("drawing the chart {:?}: {error}", self.title))?;
        drop(root);
        Ok(svg)
    }

    fn draw(&self, root: &Area, legend: bool) -> Drawn {
        root.fill(&WHITE)?;
        let (plot, beside) = root.split_horizontally(SIZE.0);
        let mut builder = ChartBuilder::on(&plot);
        builder.margin(14).x_label_area_size(46).y_label_area_size(62);
        if !self.title.is_empty() {
            builder.caption(&self.title, (FONT, 17).with_color(INK));
        }
        let [left, right, bottom, top] = self.limits();
        let mut chart = builder.build_cartesian_2d(left..right, bottom..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .x_labels(9)
            .y_labels(7)
            .x_desc(self.x)
            .y_desc(self.y)
            .axis_desc_style((FONT, 15).with_color(INK))
            .label_style((FONT, 13).with_color(INK))
            .x_label_formatter(&|value| tick(*value, right - left))
            .y_label_formatter(&|value| tick(*value, top - bottom))
            .draw()?;
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.band.len() > 1) {
            let there = line.band.iter().map(|&(x, low, _)| (x, low));
            let back = line.band.iter().rev().map(|&(x, _, high)| (x, high));
            let colour = COLOURS[index % COLOURS.len()].mix(BAND);
            chart.draw_series([Polygon::new(there.chain(back).collect::<Vec<_>>(), colour.filled())])?;
        }
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let style = colour.stroke_width(line.stroke());
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            if line.markers {
                let shape = marker(index);
                let at = |point: &(f64, f64)| {
                    EmptyElement::at(*point) + Polygon::new(shape.clone(), colour.filled())
                };
                chart.draw_series(line.points.iter().map(at))?;
            }
        }
        if legend {
            self.draw_legend(&beside)?;
        }
        root.present()
    }

    fn draw_legend(&self, area: &Area) -> Drawn {
        let anchor = Pos::new(HPos::Left, VPos::Center);
        let style = (FONT, 14).with_color(INK).with_anchor::<RGBColor>(anchor).into_text_style(area);
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let y = 56 + 24 * index as i32;
            area.draw(&PathElement::new([(2, y), (26, y)], colour.stroke_width(line.stroke())))?;
            area.draw(&(EmptyElement::at((14, y)) + Polygon::new(marker(index), colour.filled())))?;
            area.draw(&Text::new(line.label.clone(), (34, y), style.clone()))?;
        }
        Ok(())
    }

    /// Width of the legend in pixels, estimated from the longest label.
    fn legend_width(&self) -> u32 {
        let longest = self.lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
        50 + 8 * longest.min(60) as u32
    }

    /// The ends of the axes: left and right at the outermost points, bottom and top at round
    /// numbers.
    fn limits(&self) -> [f64; 4] {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let left = points().map(|point| point.0).fold(0.0, f64::min);
        let right = points().map(|point| point.0).fold(0.0, f64::max);
        let ends = self.lines.iter().flat_map(|line| &line.band).map(|(_, _, high)| *high);
        let top = points().map(|point| point.1).chain(ends).fold(0.0, f64::max);
        let positive = |value: f64| if value > 0.0 { value } else { 1.0 };
        let lowest = points().map(|point| -point.1).fold(0.0, f64::max);
        let bottom = if lowest > 0.0 { -round_up(lowest) } else { 0.0 };
        [left, positive(right), bottom, round_up(positive(top))]
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The outline of the marker of line `index`, in pixels around its point.
fn marker(index: usize) -> Vec<(i32, i32)> {
    match index % 5 {
        0 => vec![(-2, -4), (2, -4), (4, -2), (4, 2), (2, 4), (-2, 4), (-4, 2), (-4, -2)],
        1 => vec![(-4, -4), (4, -4), (4, 4), (-4, 4)],
        2 => vec![(0, -5), (5, 4), (-5, 4)],
        3 => vec![(0, -6), (6, 0), (0, 6), (-6, 0)],
        _ => vec![(0, 5), (5, -4), (-5, -4)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: Vec<Line>) -> Chart {
        Chart::new("", "epsilon", "mean IoU", lines)
    }

    fn polylines(svg: &str, colour: &str) -> Vec<usize> {
        let is_line =
            |line: &&str| line.contains("<polyline") && line.contains(&format!("stroke=\"{colour}\""));
        svg.lines().filter(is_line).map(|line| line.matches(',').count()).collect()
    }

    #[test]
    fn every_line_goes_through_all_its_points() {
        let points: Vec<_> =
            (0..9).map(|point| (f64::from(point) / 200.0, 0.7 / f64::from(1 + point))).collect();
        let lines = ["Basic", "FGSM & <more>"].map(|label| Line::through(label, points.clone()));
        let svg = chart(lines.to_vec()).svg().unwrap();
        for colour in ["#0072B2", "#D55E00"] {
            assert!(polylines(&svg, colour).contains(&9), "{colour}: {svg}");
        }
        for part in ["epsilon", "mean IoU", "0.035", "FGSM &amp; &lt;more&gt;"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        for stranger in ["<script", "href", "@import", "url("] {
            assert!(!svg.contains(stranger), "{stranger}");
        }
    }

    #[test]
    fn bold_lines_are_thicker_and_bands_faint() {
        let line = Line::through("worst case", vec![(0.0, 0.7), (0.04, 0.5)]);
        let svg = |line| chart(vec![line]).svg().unwrap();
        assert!(svg(Line { bold: true, ..line.clone() }).contains("stroke-width=\"4\""));
        assert!(!svg(line.clone()).contains("stroke-width=\"4\""));
        let band = vec![(0.0, 0.6, 0.95), (0.04, 0.4, 0.6)];
        let line = Line { band, ..line };
        assert_eq!(chart(vec![line.clone()]).limits(), [0.0, 0.04, 0.0, 1.0]);
        assert!(svg(line).contains("opacity=\"0.13\""));
    }

    #[test]
    fn charts_of_nothing_or_little_are_drawn() {
        for values in [vec![], vec![(0, 0.0)], vec![(7, 1e30)], vec![(0, 1e-12), (1, 0.5)]] {
            let svg = chart(vec![Line::over_steps("loss", &values)]).svg().unwrap();
            assert!(svg.contains("</svg>"), "{values:?}");
        }
        assert!(chart(Vec::new()).svg().unwrap().contains("</svg>"));
    }

    #[test]
    fn an_axis_reaches_below_zero_where_a_line_does() {
        let line = Line::over_steps("x", &[(0, -0.011), (5, 0.7)]);
        assert_eq!(chart(vec![line]).limits(), [0.0, 5.0, -0.015, 0.8]);
    }

    #[test]
    fn ticks_are_round_numbers_on_every_axis() {
        for ends in [
            (-0.3, 0.7),
            (-0.1, 1.2),
            (-0.00013, 0.0004),
            (-7.0, 3.0),
            (-0.6, 0.1),
            (-2e-9, 3e-9),
            (0.0, 3e7),
        ] {
            let points = vec![(ends.0, ends.1), (ends.1, ends.0)];
            let svg = chart(vec![Line::through("x", points)]).svg().unwrap();
            let texts = svg.split("</text>").filter_map(|part| part.rsplit('>').next());
            let numbers: Vec<&str> =
                texts.map(str::trim).filter(|text| text.parse::<f64>().is_ok()).collect();
            assert!(numbers.len() > 6 && numbers.contains(&"0"), "{ends:?}: {numbers:?}");
            assert!(numbers.iter().all(|number| number.len() < 9), "{ends:?}: {numbers:?}");
        }
    }
}
