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
    /// A fraction in `[0, 1]`, shown with four decimals.
    Fraction(f64),
    /// A percentage, shown with one decimal.
    Percent(f64),
    /// The ends of an interval of fractions, shown with three decimals.
    Interval([f64; 2]),
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
            Self::Interval([low, high]) => format!("{low:.3} to {high:.3}"),
            Self::Missing => "n/a".into(),
        }
    }

    /// The number, if it is one.
    fn value(&self) -> Option<f64> {
        match self {
            Self::Number(value, _) | Self::Fraction(value) | Self::Percent(value) => Some(*value),
            Self::Text(_) | Self::Interval(_) | Self::Missing => None,
        }
    }

    /// The content with all digits, for programs.
    fn exact(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value, _) | Self::Fraction(value) | Self::Percent(value) => value.to_string(),
            Self::Interval([low, high]) => format!("{low} to {high}"),
            Self::Missing => String::new(),
        }
    }
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, which is unique in a CSV.
    pub name: String,
    /// More about it, for readers; may be empty.
    pub detail: String,
}

impl<S: Into<String>> From<S> for Column {
    fn from(name: S) -> Self {
        Self { name: name.into(), detail: String::new() }
    }
}

impl Column {
    fn shown(&self) -> String {
        let Self { name, detail } = self;
        if detail.is_empty() { name.clone() } else { format!("{name} ({detail})") }
    }
}

/// A table with a title, named columns, and rows of as many cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What the table shows.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
    /// Row and column of cells that stand out: the best of a column, say.
    pub bold: Vec<(usize, usize)>,
    /// Whether HTML draws a bar behind each fraction.
    pub bars: bool,
    /// How to read the table, printed below it; may be empty.
    pub note: String,
    /// Values that all rows share, by name. They are further columns of a CSV, which has no note.
    pub constants: Vec<(String, Cell)>,
}

impl Table {
    /// A table without rows.
    pub fn new<C: Into<Column>>(title: impl Into<String>, columns: impl IntoIterator<Item = C>) -> Self {
        Self {
            title: title.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            bold: Vec::new(),
            bars: false,
            note: String::new(),
            constants: Vec::new(),
        }
    }

    /// Lets the best number of each of `columns` stand out, among the first `rows` rows: the one
    /// that no other is better than, and that not all equal. `better(a, b)` says that `a` is better
    /// than `b`.
    pub fn mark_best(
        &mut self,
        rows: usize,
        columns: impl IntoIterator<Item = usize>,
        better: impl Fn(f64, f64) -> bool,
    ) {
        for column in columns {
            let rows = self.rows.iter().take(rows).enumerate();
            let values: Vec<(usize, f64)> =
                rows.filter_map(|(row, cells)| Some((row, cells.get(column)?.value()?))).collect();
            self.bold.extend(best(&values, &better).into_iter().map(|row| (row, column)));
        }
    }

    /// Lets the best number of the row at `row` stand out, as [`Table::mark_best`] does in columns.
    pub fn mark_best_of_row(&mut self, row: usize, better: impl Fn(f64, f64) -> bool) {
        let Some(cells) = self.rows.get(row) else { return };
        let values: Vec<(usize, f64)> =
            cells.iter().enumerate().filter_map(|(column, cell)| Some((column, cell.value()?))).collect();
        self.bold.extend(best(&values, better).into_iter().map(|column| (row, column)));
    }

    /// Whether a column holds words. Words are aligned to the left, numbers to the right.
    fn is_text(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Text(_))))
    }

    fn heads(&self) -> Vec<String> {
        self.columns.iter().map(Column::shown).collect()
    }

    /// The rows in their displayed form, with `strong` applied to the cells that stand out.
    fn shown(&self, strong: impl Fn(String) -> String) -> impl Iterator<Item = Vec<String>> {
        let cell = move |row: usize, (column, cell): (usize, &Cell)| {
            if self.bold.contains(&(row, column)) { strong(cell.shown()) } else { cell.shown() }
        };
        self.rows
            .iter()
            .enumerate()
            .map(move |(row, cells)| cells.iter().enumerate().map(|place| cell(row, place)).collect())
    }
}

/// The places of values that no other is better than. Empty if all are alike.
fn best(values: &[(usize, f64)], better: impl Fn(f64, f64) -> bool) -> Vec<usize> {
    let unbeaten = |value: f64| !values.iter().any(|(_, other)| better(*other, value));
    let found: Vec<usize> =
        values.iter().filter(|(_, value)| unbeaten(*value)).map(|(place, _)| *place).collect();
    if found.len() < values.len() { found } else { Vec::new() }
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

    #[test]
    fn the_best_numbers_of_a_column_stand_out_unless_all_are_alike() {
        let mut table = Table::new("", ["run", "a", "b", "c"]);
        for (name, a, b) in [("x", 0.5, 0.1), ("y", 0.7, 0.1), ("z", 0.7, 0.1), ("mean", 0.9, 0.9)] {
            table.rows.push(vec![Cell::text(name), Cell::Fraction(a), Cell::Fraction(b), Cell::Missing]);
        }
        table.mark_best(3, 0..4, |a, b| a > b);
        assert_eq!(table.bold, [(1, 1), (2, 1)]);
        assert!(table.markdown().contains("| y | **0.7000** | 0.1000 | n/a |"), "{}", table.markdown());
        assert!(table.latex().contains("y & \\textbf{0.7000} & 0.1000 & n/a"), "{}", table.latex());
        assert!(table.html().contains("<td class=\"number\"><b>0.7000</b></td>"), "{}", table.html());
        assert!(table.csv().contains("y,0.7,0.1,\n"), "{}", table.csv());
    }

    #[test]
    fn details_of_columns_are_for_readers() {
        let detailed = Column { name: "0.2".into(), detail: "51/255".into() };
        let mut table = Table::new("", [Column::from("run"), detailed]);
        table.rows.push(vec![Cell::text("x"), Cell::Fraction(0.5)]);
        assert_eq!(table.csv(), "run,0.2\nx,0.5\n");
        for text in [table.plain(), table.markdown(), table.latex()] {
            assert!(text.contains("0.2 (51/255)"), "{text}");
        }
        assert!(table.html().contains("0.2<small>51/255</small>"), "{}", table.html());
    }
}
