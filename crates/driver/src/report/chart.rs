//! Line charts as SVG: robustness curves, training loss, validation.
//!
//! The SVG holds shapes and text alone: no script, no font file, no style sheet. Its background is white, so that it
//! looks the same on a dark page; lines differ in colour (Okabe and Ito's palette, safe for the colour-blind) and in
//! the shape of their markers.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use robustseg_evaluation::{Curve, Evaluation, Point};

/// Okabe and Ito's colours, but for yellow, which is too light for a line on white.
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
/// Opacity of bands, faint enough for several above each other.
const BAND: f64 = 0.13;
/// Points at most in a line of many; more are averaged in groups.
const MANY: usize = 300;

/// A line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub label: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// How far off its points may be: place, lower and upper end; nothing if that is not known.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether each point has a marker.
    pub markers: bool,
    /// Whether it stands out among the others.
    pub bold: bool,
}

impl Line {
    /// The mean IoU of `curve` over epsilon, by rising epsilon.
    pub fn robustness(label: &str, curve: &Curve) -> Self {
        Self::over_epsilon(label, &curve.points)
    }

    /// The mean IoU of the worst case over all curves of `evaluation`, from the clean one on; nothing if it has none.
    pub fn worst_case(label: &str, evaluation: &Evaluation) -> Option<Self> {
        if evaluation.worst_case.is_empty() {
            return None;
        }
        let clean = Point { epsilon: 0.0, scores: evaluation.clean.clone(), candidates: Vec::new() };
        let points: Vec<Point> =
            std::iter::once(clean).chain(evaluation.worst_case.iter().cloned()).collect();
        Some(Self::over_epsilon(label, &points))
    }

    fn over_epsilon(label: &str, curve: &[Point]) -> Self {
        let mut points: Vec<_> = curve.iter().map(|p| (p.epsilon, p.scores.miou)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let interval = |point: &Point| {
            let [low, high] = point.scores.miou_interval?;
            Some((point.epsilon, low, high))
        };
        let mut band: Vec<_> = curve.iter().filter_map(interval).collect();
        band.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { label: label.to_owned(), points, band, markers: true, bold: false }
    }

    /// Twice as thick, where it stands out.
    fn stroke(&self) -> u32 {
        if self.bold { 4 } else { 2 }
    }

    /// A value over training steps. Where there are more than a few hundred, groups of neighbours are averaged.
    pub fn over_steps(label: &str, values: &[(u64, f64)]) -> Self {
        let mean = |group: &[(u64, f64)]| {
            let count = group.len() as f64;
            let sum =
                group.iter().fold((0.0, 0.0), |sum, &(step, value)| (sum.0 + step as f64, sum.1 + value));
            (sum.0 / count, sum.1 / count)
        };
        let points: Vec<_> = values.chunks(values.len().div_ceil(MANY).max(1)).map(mean).collect();
        Self { label: label.to_owned(), markers: points.len() <= 30, points, band: Vec::new(), bold: false }
    }
}

/// A chart of lines over one pair of axes that start at 0, or before it where a line does.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Written above; nothing if empty.
    pub title: String,
    /// The name of the horizontal axis.
    pub x: &'static str,
    /// The name of the vertical axis.
    pub y: &'static str,
    /// The lines; the legend is left out if there is but one.
    pub lines: Vec<Line>,
}

impl Chart {
    /// Robustness curves: mean IoU over epsilon.
    pub fn robustness(title: &str, lines: Vec<Line>) -> Self {
        Self { title: title.to_owned(), x: "epsilon", y: "mean IoU", lines }
    }

    /// The cross-entropy of images along the attack's direction, each with its name.
    pub fn landscape(lines: &[(String, Vec<(f64, f32)>)]) -> Self {
        let line = |(label, values): &(String, Vec<(f64, f32)>)| Line {
            label: label.clone(),
            points: values.iter().map(|&(times, loss)| (times, f64::from(loss))).collect(),
            band: Vec::new(),
            markers: false,
            bold: false,
        };
        let title = "Loss along the attack's direction".into();
        Self {
            title,
            x: "times the perturbation",
            y: "cross-entropy",
            lines: lines.iter().map(line).collect(),
        }
    }

    /// The training loss over steps.
    pub fn loss(values: &[(u64, f64)]) -> Self {
        let lines = vec![Line::over_steps("loss", values)];
        Self { title: "Training loss".into(), x: "step", y: "cross-entropy", lines }
    }

    /// Clean mean IoU on the validation samples over steps.
    pub fn validation(values: &[(u64, f64)]) -> Self {
        let lines = vec![Line::over_steps("validation", values)];
        Self { title: "Validation on clean images".into(), x: "step", y: "mean IoU", lines }
    }

    /// The chart as an SVG document.
    ///
    /// # Errors
    /// If the drawing library refuses, which it has no reason to.
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

    /// Room for the longest label; a narrow character more or less does not matter.
    fn legend_width(&self) -> u32 {
        let longest = self.lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
        50 + 8 * longest.min(60) as u32
    }

    /// Where the axes end: the first point to the left, the last to the right, the next round numbers below and above.
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

/// The next of 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    let step = steps.into_iter().find(|step| value <= step * power * (1.0 + 1e-9));
    step.unwrap_or(10.0) * power
}

/// A tick's number on an axis of length `span`, without superfluous digits. What rounding leaves of a zero is zero.
fn tick(value: f64, span: f64) -> String {
    if value.abs() <= 1e-9 * span {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        let text = format!("{value:.3e}");
        return match text.split_once('e') {
            Some((digits, power)) => format!("{}e{power}", trimmed(digits)),
            None => text,
        };
    }
    // Three digits more than the axis' own first one.
    let decimals = (3.0 - span.log10().floor()).clamp(0.0, 9.0) as usize;
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// A number without zeros at the end of its decimals.
fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn polylines(svg: &str, colour: &str) -> Vec<usize> {
        let is_line =
            |line: &&str| line.contains("<polyline") && line.contains(&format!("stroke=\"{colour}\""));
        svg.lines().filter(is_line).map(|line| line.matches(',').count()).collect()
    }

    #[test]
    fn every_model_has_its_line_through_all_points() {
        let curve = &fixture::evaluation(0.7, 4.0).curves[0];
        let lines = ["Basic", "FGSM & <more>"].map(|label| Line::robustness(label, curve));
        let svg = Chart::robustness("BIM", lines.to_vec()).svg().unwrap();
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
    fn the_worst_case_begins_at_the_clean_score_and_stands_out() {
        let mut evaluation = fixture::evaluation(0.7, 4.0);
        assert_eq!(Line::worst_case("worst case", &evaluation), None);
        evaluation.worst_case = evaluation.curves[1].points[1..3].to_vec();
        let line = Line::worst_case("worst case", &evaluation).unwrap();
        assert_eq!((line.points.len(), line.points[0]), (3, (0.0, 0.7)));
        let thick = |bold| {
            let svg = Chart::robustness("", vec![Line { bold, ..line.clone() }]).svg().unwrap();
            svg.contains("stroke-width=\"4\"")
        };
        assert!(thick(true) && !thick(false));
    }

    #[test]
    fn points_are_sorted_and_long_lines_averaged() {
        let mut curve = fixture::evaluation(0.7, 4.0).curves[0].clone();
        curve.points.reverse();
        curve.points[0].scores.miou_interval = Some([0.1, 0.95]);
        curve.points[1].scores.miou_interval = Some([0.2, 0.9]);
        let line = Line::robustness("x", &curve);
        assert!(line.points.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(line.band[7..], [(0.035, 0.2, 0.9), (0.04, 0.1, 0.95)]);
        let chart = Chart::robustness("", vec![line]);
        assert_eq!(chart.limits(), [0.0, 0.04, 0.0, 1.0]);
        assert!(chart.svg().unwrap().contains("opacity=\"0.13\""));
        let values: Vec<_> = (0..1000).map(|step| (step, if step % 2 == 0 { 1.0 } else { 3.0 })).collect();
        let line = Line::over_steps("loss", &values);
        assert_eq!(line.points.len(), 250);
        assert!(line.points.iter().all(|point| point.1 == 2.0));
        assert_eq!(line.points[0].0, 1.5);
    }

    #[test]
    fn charts_of_nothing_or_little_are_drawn() {
        for values in [vec![], vec![(0, 0.0)], vec![(7, 1e30)], vec![(0, 1e-12), (1, 0.5)]] {
            assert!(Chart::loss(&values).svg().unwrap().contains("</svg>"), "{values:?}");
        }
        assert!(Chart::robustness("", Vec::new()).svg().unwrap().contains("</svg>"));
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([0.63, 0.8, 0.81, 1.0].map(round_up), [0.8, 0.8, 1.0, 1.0]);
        assert_eq!(round_up(17.0), 20.0);
        let line = Line::over_steps("x", &[(0, -0.011), (5, 0.7)]);
        let chart = Chart { title: String::new(), x: "x", y: "y", lines: vec![line] };
        assert_eq!(chart.limits(), [0.0, 5.0, -0.015, 0.8]);
        assert_eq!(
            ["0.04", "0", "1", "0.7", "2000"],
            [0.04, 0.0, 1.0, 0.7, 2000.0].map(|value| tick(value, value)).each_ref().map(String::as_str)
        );
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
            let line = Line { label: "x".into(), points, band: Vec::new(), markers: false, bold: false };
            let svg = Chart { title: String::new(), x: "x", y: "y", lines: vec![line] }.svg().unwrap();
            let texts = svg.split("</text>").filter_map(|part| part.rsplit('>').next());
            let numbers: Vec<&str> =
                texts.map(str::trim).filter(|text| text.parse::<f64>().is_ok()).collect();
            assert!(numbers.len() > 6 && numbers.contains(&"0"), "{ends:?}: {numbers:?}");
            assert!(numbers.iter().all(|number| number.len() < 9), "{ends:?}: {numbers:?}");
        }
        assert_eq!(tick(6.938_893_903_907_228e-18, 0.4), "0");
        assert_eq!(tick(-0.0, 1.0), "0");
        assert_eq!(tick(0.00125, 0.005), "0.00125");
        assert_eq!(tick(0.000_150_000_000_000_000_02, 0.0004), "1.5e-4");
    }
}
