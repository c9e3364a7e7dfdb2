//! Drawings as SVG.
//!
//! An SVG holds only shapes and words: no script, no font, no style sheet. Alone it is black on white.
//! Every element has its class, so that the style sheet of a page can choose the colours: `sX` for
//! strokes and `fX` for areas and words, where `X` is `t` (words), `g` (grid) or the number of a line.

use std::fmt::Write as _;

use super::{Anchor, Drawing, FAINT, Ink, Place, Shape};
use crate::draw::escape::escape;

const FONT: &str = "system-ui, -apple-system, 'Segoe UI', sans-serif";

impl Drawing {
    /// The drawing as an SVG document with `title` (text).
    pub(in crate::draw) fn svg(&self, title: &str) -> String {
        let Self { width, height, shapes } = self;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"{FONT}\">\n<title>{}</title>\n<rect class=\"paper\" width=\"100%\" \
             height=\"100%\" fill=\"#fff\"/>\n",
            escape(title)
        );
        for shape in shapes {
            svg += &element(shape);
        }
        svg + "</svg>\n"
    }
}

fn element(shape: &Shape) -> String {
    match shape {
        Shape::Line { points, ink, width, dash } => {
            let dash = match dash.pattern() {
                "" => String::new(),
                pattern => format!(" stroke-dasharray=\"{pattern}\""),
            };
            format!(
                "<polyline class=\"s{}\" points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" \
                 stroke-linejoin=\"round\"{dash}/>\n",
                ink.class(),
                list(points),
                colour(*ink)
            )
        }
        Shape::Area { points, ink, faint } => {
            let opacity = if *faint { format!(" fill-opacity=\"{FAINT}\"") } else { String::new() };
            let (class, points, colour) = (ink.class(), list(points), colour(*ink));
            format!("<polygon class=\"f{class}\" points=\"{points}\" fill=\"{colour}\"{opacity}/>\n")
        }
        Shape::Text { at: (x, y), text, size, anchor, bold } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let weight = if *bold { " font-weight=\"700\"" } else { "" };
            format!(
                "<text class=\"ft\" x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{}\" font-size=\"{size}\"{anchor}{weight}>{}</text>\n",
                colour(Ink::Text),
                escape(text)
            )
        }
    }
}

fn colour(ink: Ink) -> String {
    let [red, green, blue] = ink.rgb();
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn list(points: &[Place]) -> String {
    let mut text = String::new();
    for (x, y) in points {
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{space}{x:.1},{y:.1}");
    }
    text
}
