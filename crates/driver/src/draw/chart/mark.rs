//! Colour, marker and pattern of each line. No two of the first 105 lines have all in common.

use super::line::Line;
use crate::draw::drawing::{Dash, Drawing, Ink, Place, Shape};

/// Number of markers. It has no divisor in common with the number of colours, so that a colour and
/// a marker meet again only after all others have met.
const MARKERS: usize = 5;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) ink: Ink,
    marker: usize,
    dash: Dash,
}

impl Mark {
    /// The marks of `lines`. Bold lines have the colour of words, and the others count without
    /// them.
    pub(super) fn of(lines: &[Line]) -> Vec<Self> {
        let mut others = 0;
        let mark = |line: &Line| {
            if line.bold {
                return Self { ink: Ink::Text, marker: 0, dash: Dash::Solid };
            }
            let index = others;
            others += 1;
            let dash = [Dash::Solid, Dash::Dashed, Dash::Dotted][index / (Ink::COLOURS * MARKERS) % 3];
            Self { ink: Ink::Line(index % Ink::COLOURS), marker: index % MARKERS, dash }
        };
        lines.iter().map(mark).collect()
    }

    /// Draws the line through `points`.
    pub(super) fn stroke(self, drawing: &mut Drawing, points: Vec<Place>, bold: bool) {
        let width = if bold { 4.0 } else { 2.0 };
        drawing.shapes.push(Shape::Line { points, ink: self.ink, width, dash: self.dash });
    }

    /// Draws the marker around `at`.
    pub(super) fn marker(self, drawing: &mut Drawing, at: Place) {
        let outline: &[Place] = match self.marker {
            0 => &[
                (-1.8, -4.4),
                (1.8, -4.4),
                (4.4, -1.8),
                (4.4, 1.8),
                (1.8, 4.4),
                (-1.8, 4.4),
                (-4.4, 1.8),
                (-4.4, -1.8),
            ],
            1 => &[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
            2 => &[(0.0, -5.5), (5.2, 4.0), (-5.2, 4.0)],
            3 => &[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)],
            _ => &[(0.0, 5.5), (5.2, -4.0), (-5.2, -4.0)],
        };
        let points = outline.iter().map(|(x, y)| (at.0 + x, at.1 + y)).collect();
        drawing.shapes.push(Shape::Area { points, ink: self.ink, faint: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_and_a_marker_never_meet_twice_with_one_pattern() {
        let lines = vec![Line::default(); 105];
        let marks = Mark::of(&lines);
        for (index, mark) in marks.iter().enumerate() {
            assert!(!marks[..index].contains(mark), "{index}");
            let twin = |other: &&Mark| (other.ink, other.marker) == (mark.ink, mark.marker);
            assert!(index >= 35 || !marks[..index].iter().any(|other| twin(&other)), "{index}");
        }
    }
}
