//! The names of a chart's lines: at their ends, or in rows below the plot.

use super::font::{FONT, words};
use super::line::Line;
use super::mark::Mark;
use crate::draw::drawing::{Anchor, Drawing, Ink, Place};

/// Height of a name, in pixels.
pub(super) const ROW: f64 = 19.0;
/// From the right end of the plot to the names.
const LEADER: f64 = 26.0;
/// The sample of a line before its name below the plot, and the gap to the next name.
const SAMPLE: f64 = 34.0;
const GAP: f64 = 22.0;

/// Where the names of lines are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Names {
    /// A single line needs none.
    Nowhere,
    /// At the ends of the lines, on so many pixels right of the plot.
    Ends(f64),
    /// Below the plot, in rows of lines and their left ends.
    Below(Vec<Vec<(usize, f64)>>),
}

/// The width of the name of `line`. Bold letters are a sixth wider in common fonts.
fn width_of(line: &Line) -> f64 {
    let share = if line.bold { 7.0 / 6.0 } else { 1.0 };
    share * words(&line.label, FONT)
}

impl Names {
    /// The place for the names of `lines` in a chart `width` pixels wide. Lines that end at one
    /// height, as outlines do, are named below, and so are lines with long names.
    pub(super) fn of(lines: &[Line], width: f64) -> Self {
        if lines.len() < 2 {
            return Self::Nowhere;
        }
        let longest = lines.iter().map(width_of).fold(0.0, f64::max);
        let ends = || lines.iter().filter_map(|line| line.points.last()).map(|point| point.1);
        let (low, high) = (ends().fold(f64::INFINITY, f64::min), ends().fold(f64::NEG_INFINITY, f64::max));
        if longest <= 0.27 * width && high > low {
            return Self::Ends(LEADER + longest + 8.0);
        }
        let mut rows: Vec<Vec<(usize, f64)>> = vec![Vec::new()];
        let mut left = 12.0;
        for (index, line) in lines.iter().enumerate() {
            let needed = SAMPLE + width_of(line);
            if left + needed > width && left > 12.0 {
                rows.push(Vec::new());
                left = 12.0;
            }
            if let Some(row) = rows.last_mut() {
                row.push((index, left));
            }
            left += needed + GAP;
        }
        Self::Below(rows)
    }

    /// The width right of the plot.
    pub(super) fn width(&self) -> f64 {
        if let Self::Ends(width) = self { *width } else { 0.0 }
    }

    /// The height below the plot.
    pub(super) fn height(&self) -> f64 {
        if let Self::Below(rows) = self { ROW * rows.len() as f64 + 6.0 } else { 0.0 }
    }

    /// Draws the names of `lines` with their `marks`. `ends` are the ends of the lines, `plot` its
    /// right end, top and bottom, and `below` the top of the rows.
    pub(super) fn draw(
        &self,
        drawing: &mut Drawing,
        (lines, marks): (&[Line], &[Mark]),
        ends: &[Option<Place>],
        [right, top, bottom]: [f64; 3],
        below: f64,
    ) {
        let name = |drawing: &mut Drawing, index: usize, (x, y): Place| {
            let line = &lines[index];
            if line.bold {
                drawing.bold_text((x, y), &line.label, FONT);
            } else {
                drawing.text((x, y), &line.label, FONT, Anchor::Start);
            }
        };
        match self {
            Self::Nowhere => {}
            Self::Ends(_) => {
                let mut order: Vec<(usize, Place)> =
                    ends.iter().enumerate().filter_map(|(index, end)| Some((index, (*end)?))).collect();
                order.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
                let places = spread(&order.iter().map(|(_, end)| end.1).collect::<Vec<_>>(), top, bottom);
                for ((index, end), y) in order.into_iter().zip(places) {
                    let x = right + LEADER;
                    drawing.line(vec![(end.0.max(right) + 5.0, end.1), (x - 14.0, y)], Ink::Grid, 1.0);
                    marks[index].marker(drawing, (x - 7.0, y));
                    name(drawing, index, (x + 2.0, y + 5.0));
                }
            }
            Self::Below(rows) => {
                for (row, entries) in rows.iter().enumerate() {
                    let y = below + ROW * (row as f64 + 0.5);
                    for &(index, left) in entries {
                        marks[index].stroke(drawing, vec![(left, y), (left + 24.0, y)], lines[index].bold);
                        marks[index].marker(drawing, (left + 12.0, y));
                        name(drawing, index, (left + SAMPLE - 4.0, y + 5.0));
                    }
                }
            }
        }
    }
}

/// Places near `wanted`, which rise, at least [`ROW`] apart, within `top` and `bottom` if they fit.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    // Groups of names that touch, each centred on its wanted places: sum of offsets and number.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    let start = |(sum, count): (f64, usize)| {
        let height = ROW * (count - 1) as f64;
        let last = (bottom - height).max(top);
        (sum / count as f64 - height / 2.0).clamp(top, last)
    };
    for place in wanted {
        groups.push((*place, 1));
        while let [.., before, last] = groups[..] {
            if start(before) + ROW * before.1 as f64 <= start(last) {
                break;
            }
            groups.truncate(groups.len() - 2);
            groups.push((before.0 + last.0, before.1 + last.1));
        }
    }
    groups
        .into_iter()
        .flat_map(|group| (0..group.1).map(move |row| start(group) + ROW * row as f64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_overlap_and_stay_within_the_plot() {
        for wanted in [vec![50.0; 13], vec![0.0, 1.0, 2.0, 200.0, 201.0], vec![300.0, 300.0], vec![10.0]] {
            let places = spread(&wanted, 0.0, 300.0);
            assert_eq!(places.len(), wanted.len());
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= ROW - 1e-9), "{places:?}");
            assert!(places.iter().all(|place| (0.0..=300.0).contains(place)), "{places:?}");
        }
        assert_eq!(spread(&[10.0, 100.0, 250.0], 0.0, 300.0), [10.0, 100.0, 250.0]);
    }

    #[test]
    fn long_names_and_outlines_are_named_below() {
        let line = |label: &str, end: f64| Line::through(label, vec![(0.0, 0.5), (1.0, end)]);
        let names = |lines: &[Line]| Names::of(lines, 440.0);
        assert_eq!(names(&[line("a", 0.1)]), Names::Nowhere);
        assert!(matches!(names(&[line("a", 0.1), line("b", 0.2)]), Names::Ends(_)));
        assert!(matches!(names(&[line("a", 0.0), line("b", 0.0)]), Names::Below(rows) if rows.len() == 1));
        let (thin, mut bold) = (line("a", 0.1), line("a name", 0.2));
        let before = names(&[thin.clone(), bold.clone()]).width();
        bold.bold = true;
        assert!(names(&[thin, bold]).width() > before + 5.0, "bold names need more room");
        let long = "a name of forty characters, or somewhat more";
        assert!(matches!(names(&[line(long, 0.1), line(long, 0.2)]), Names::Below(rows) if rows.len() == 2));
    }
}
