//! Drawings of lines, areas and words, which become SVG for browsers and PDF for papers.

mod pdf;
mod svg;
mod width;

pub(super) use width::text_width;

/// Opacity of areas, faint enough to see a grid through them.
const FAINT: f64 = 0.16;

/// A place in pixels from the upper left corner.
pub(super) type Place = (f64, f64);

/// A drawing of `width` x `height` pixels on white.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) shapes: Vec<Shape>,
}

/// A part of a [`Drawing`].
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A line through `points`, `width` pixels thick.
    Line { points: Vec<Place>, ink: Ink, width: f64, dash: Dash },
    /// A polygon, faint or opaque.
    Area { points: Vec<Place>, ink: Ink, faint: bool },
    /// Words on one line.
    Text { at: Place, text: String, size: f64, anchor: Anchor, bold: bool },
}

/// What a colour stands for. Pages choose other colours in dark mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Words, axes and the line that stands out.
    Text,
    /// Lines of the grid.
    Grid,
    /// The line of this colour, less than [`Ink::COLOURS`].
    Line(usize),
}

impl Ink {
    /// Colours of lines. They keep a contrast of 3 to white and differ for the colour-blind. Okabe
    /// and Ito's palette is too light in places.
    const LIGHT: [[u8; 3]; 7] = [
        [0, 114, 178],
        [213, 94, 0],
        [0, 138, 99],
        [184, 88, 154],
        [163, 116, 0],
        [43, 140, 196],
        [120, 98, 192],
    ];

    /// The number of colours of lines.
    pub(super) const COLOURS: usize = Self::LIGHT.len();

    /// Red, green and blue on white.
    fn rgb(self) -> [u8; 3] {
        match self {
            Self::Text => [34, 38, 43],
            Self::Grid => [223, 226, 230],
            Self::Line(index) => Self::LIGHT[index % Self::COLOURS],
        }
    }

    /// The end of the name of its classes in a style sheet.
    fn class(self) -> String {
        match self {
            Self::Text => "t".into(),
            Self::Grid => "g".into(),
            Self::Line(index) => (index % Self::COLOURS).to_string(),
        }
    }
}

/// The pattern of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

impl Dash {
    /// Lengths of strokes and gaps in turn, in pixels.
    fn pattern(self) -> &'static str {
        match self {
            Self::Solid => "",
            Self::Dashed => "8 4",
            Self::Dotted => "2 3",
        }
    }
}

/// The part of words that is at their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    /// An empty drawing.
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, shapes: Vec::new() }
    }

    /// Adds a solid line.
    pub(super) fn line(&mut self, points: Vec<Place>, ink: Ink, width: f64) {
        self.shapes.push(Shape::Line { points, ink, width, dash: Dash::Solid });
    }

    /// Adds words of `size` pixels at `at`.
    pub(super) fn text(&mut self, at: Place, text: impl Into<String>, size: f64, anchor: Anchor) {
        self.shapes.push(Shape::Text { at, text: text.into(), size, anchor, bold: false });
    }

    /// Adds bold words of `size` pixels that begin at `at`.
    pub(super) fn bold_text(&mut self, at: Place, text: impl Into<String>, size: f64) {
        self.shapes.push(Shape::Text { at, text: text.into(), size, anchor: Anchor::Start, bold: true });
    }
}
