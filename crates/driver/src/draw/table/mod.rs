//! One [`Table`] for the terminal, Markdown, CSV, LaTeX and HTML.
//!
//! ```
//! use robustseg_driver::draw::table::{Cell, Table};
//!
//! let mut table = Table::new("Scores", ["attack", "mean IoU"]);
//! table.rows.push(vec![Cell::text("none"), Cell::Fraction(0.7)]);
//! assert_eq!(table.csv(), "attack,mean IoU\nnone,0.7\n");
//! ```

mod html;
mod latex;
mod text;

/// The content of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number and how many of its decimals are shown.
    Number(f64, usize),
    /// A fraction in `[0, 1]`, shown with four decimals; in HTML with a bar behind it.
    Fraction(f64),
    /// A percentage, shown with one decimal.
    Percent(f64),
    /// A missing value: "n/a", in CSV empty.
    Missing,
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A fraction that may be missing.
    pub fn fraction(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Fraction)
    }

    /// A number that may be missing, shown with `decimals` decimals.
    pub fn number(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Missing, |value| Self::Number(value, decimals))
    }

    /// A percentage that may be missing.
    pub fn percent(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Percent)
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value, decimals) => format!("{value:.decimals$}"),
            Self::Fraction(value) => format!("{value:.4}"),
            Self::Percent(value) => format!("{value:.1} %"),
            Self::Missing => "n/a".into(),
        }
    }

    /// The content with all digits, for programs.
    fn exact(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value, _) | Self::Fraction(value) | Self::Percent(value) => value.to_string(),
            Self::Missing => String::new(),
        }
    }
}

/// A table with a title, named columns, and rows of as many cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What the table shows.
    pub title: String,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
    /// How to read the table, printed below it; may be empty.
    pub note: String,
    /// Values that all rows share, by name. They are further columns of a CSV, which has no note.
    pub constants: Vec<(String, Cell)>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(title: impl Into<String>, columns: impl IntoIterator<Item = S>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { title: title.into(), columns, rows: Vec::new(), note: String::new(), constants: Vec::new() }
    }

    /// Whether a column holds words. Words are aligned to the left, numbers to the right.
    fn is_text(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Text(_))))
    }

    fn shown(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|row| row.iter().map(Cell::shown).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table whose words are special characters of every format.
    pub(crate) fn sample() -> Table {
        let mut table = Table::new("Runs & times", ["run", "mean IoU", "added"]);
        table.rows.push(vec![
            Cell::text("a|b_\"c\", <d>"),
            Cell::fraction(Some(0.123_456)),
            Cell::percent(Some(31.18)),
        ]);
        table.rows.push(vec![Cell::text("basic"), Cell::fraction(None), Cell::percent(None)]);
        table.note = "n/a: no basic run.".into();
        table
    }
}
