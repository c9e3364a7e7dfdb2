//! Tables: one [`Table`], rendered for the terminal, Markdown, CSV, LaTeX and HTML.

use robustseg_evaluation::Scope;

use super::html::escape;
use crate::run_directory::RunDirectory;

/// What is in a cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, shown with so many decimals.
    Number(f64, usize),
    /// A fraction in `[0, 1]`, shown with four decimals; in HTML with a bar behind it.
    Fraction(f64),
    /// A number of percent, shown with one decimal.
    Percent(f64),
    /// No value: "n/a", in CSV empty.
    Missing,
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A fraction, if there is one.
    pub fn fraction(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Fraction)
    }

    /// A number with so many decimals, if there is one.
    pub fn number(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Missing, |value| Self::Number(value, decimals))
    }

    /// A number of percent, if there is one.
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

    /// All digits, as programs want them.
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
    /// How to read it, below it; nothing if empty.
    pub note: String,
    /// What holds for all rows, by name: further columns of a CSV, which has no note.
    pub constants: Vec<(String, Cell)>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(title: impl Into<String>, columns: impl IntoIterator<Item = S>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { title: title.into(), columns, rows: Vec::new(), note: String::new(), constants: Vec::new() }
    }

    /// The same table, saying that its numbers are of `scope`: at the end of its note, and in a CSV's columns `split`,
    /// `images` and `split_images`.
    #[must_use]
    pub fn on(mut self, scope: &Scope) -> Self {
        let sentence = scope.to_string();
        if !sentence.is_empty() {
            let parts = [self.note.trim_end_matches('.'), sentence.as_str()];
            self.note =
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ") + ".";
        }
        let count = |count: usize| Cell::Number(count as f64, 0);
        let constants = [
            ("split", scope.split.clone().map(Cell::Text)),
            ("images", scope.images.map(count)),
            ("split_images", scope.split_images.map(count)),
        ];
        self.constants.extend(constants.into_iter().filter_map(|(name, cell)| Some((name.into(), cell?))));
        self
    }

    /// Whether a column holds words, which stand to the left; numbers stand to the right.
    fn is_text(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Text(_))))
    }

    fn shown(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|row| row.iter().map(Cell::shown).collect())
    }

    /// For a terminal: title, columns aligned by spaces, note.
    pub fn plain(&self) -> String {
        let lines: Vec<Vec<String>> = std::iter::once(self.columns.clone()).chain(self.shown()).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if self.is_text(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        if !self.note.is_empty() {
            text += &format!("{}\n", self.note);
        }
        text
    }

    /// For GitHub and its like: a heading, a pipe table, the note.
    pub fn markdown(&self) -> String {
        let escape =
            |text: &String| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
        let line =
            |cells: &[String]| format!("| {} |\n", cells.iter().map(escape).collect::<Vec<_>>().join(" | "));
        let mut text = format!("### {}\n\n{}", escape(&self.title), line(&self.columns));
        let rule = (0..self.columns.len()).map(|column| if self.is_text(column) { "---" } else { "---:" });
        text += &format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
        text.extend(self.shown().map(|row| line(&row)));
        if !self.note.is_empty() {
            text += &format!("\n{}\n", escape(&self.note));
        }
        text
    }

    /// Comma-separated values as in RFC 4180, with all digits, without title and note; the constants are its last columns.
    pub fn csv(&self) -> String {
        let quote = |text: String| {
            if text.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text
            }
        };
        let line = |cells: Vec<String>| cells.into_iter().map(quote).collect::<Vec<_>>().join(",") + "\n";
        let (names, constants): (Vec<_>, Vec<_>) = self.constants.iter().cloned().unzip();
        let rows = self.rows.iter().map(|row| line(row.iter().chain(&constants).map(Cell::exact).collect()));
        line([self.columns.clone(), names].concat()) + &rows.collect::<String>()
    }

    /// A `table` environment with rules of the package booktabs.
    pub fn latex(&self) -> String {
        let line = |cells: &[String]| {
            format!("    {} \\\\\n", cells.iter().map(|cell| latex(cell)).collect::<Vec<_>>().join(" & "))
        };
        let columns: String =
            (0..self.columns.len()).map(|column| if self.is_text(column) { 'l' } else { 'r' }).collect();
        let mut text = format!(
            "% \\usepackage{{booktabs}}\n\\begin{{table}}\n  \\centering\n  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n"
        );
        text += &line(&self.columns);
        text += "    \\midrule\n";
        text.extend(self.shown().map(|row| line(&row)));
        let caption = [self.title.as_str(), self.note.as_str()].join(". ");
        let caption = latex(caption.trim_end_matches([' ', '.']));
        text += &format!("    \\bottomrule\n  \\end{{tabular}}\n  \\caption{{{caption}.}}\n\\end{{table}}\n");
        text
    }

    /// Writes `tables/NAME.csv`, `.md` and `.tex` into `directory`.
    pub fn write(&self, directory: &RunDirectory, name: &str) -> anyhow::Result<()> {
        for (ending, text) in [("csv", self.csv()), ("md", self.markdown()), ("tex", self.latex())] {
            directory.write(&format!("tables/{name}.{ending}"), text.as_bytes())?;
        }
        Ok(())
    }

    /// An HTML table with its title as caption; the note is a paragraph below it.
    pub fn html(&self) -> String {
        let class = |column: usize| if self.is_text(column) { "" } else { " class=\"number\"" };
        let head = self.columns.iter().enumerate();
        let head =
            head.map(|(column, name)| format!("<th scope=\"col\"{}>{}</th>", class(column), escape(name)));
        let cell = |(column, cell): (usize, &Cell)| {
            let bar = match cell {
                Cell::Fraction(value) => format!(" style=\"--share:{:.1}%\"", 100.0 * value.clamp(0.0, 1.0)),
                _ => String::new(),
            };
            format!("<td{}{bar}>{}</td>", class(column), escape(&cell.shown()))
        };
        let row = |row: &Vec<Cell>| {
            let cells: String = row.iter().enumerate().map(cell).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let (head, body): (String, String) = (head.collect(), self.rows.iter().map(row).collect());
        let mut html = String::from("<div class=\"scroll\"><table>\n");
        if !self.title.is_empty() {
            html += &format!("<caption>{}</caption>\n", escape(&self.title));
        }
        html += &format!("<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n");
        if !self.note.is_empty() {
            html += &format!("<p class=\"note\">{}</p>\n", escape(&self.note));
        }
        html
    }
}

/// `text` with LaTeX's special characters taken literally.
fn latex(text: &str) -> String {
    let literal = |character: char| match character {
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{character}"),
        '~' => "\\textasciitilde{}".into(),
        '^' => "\\textasciicircum{}".into(),
        '\\' => "\\textbackslash{}".into(),
        '\n' | '\r' => " ".into(),
        _ => character.to_string(),
    };
    text.chars().map(literal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
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
    fn plain_text_is_aligned() {
        let expected = "Runs & times
run           mean IoU   added
a|b_\"c\", <d>    0.1235  31.2 %
basic              n/a     n/a
n/a: no basic run.
";
        assert_eq!(table().plain(), expected);
    }

    #[test]
    fn markdown_keeps_its_columns() {
        let text = table().markdown();
        assert!(
            text.starts_with("### Runs & times\n\n| run | mean IoU | added |\n| --- | ---: | ---: |\n"),
            "{text}"
        );
        assert!(text.contains("| a\\|b_\"c\", <d> | 0.1235 | 31.2 % |\n"), "{text}");
    }

    #[test]
    fn csv_has_all_digits_and_quotes() {
        let expected = "run,mean IoU,added\n\"a|b_\"\"c\"\", <d>\",0.123456,31.18\nbasic,,\n";
        assert_eq!(table().csv(), expected);
    }

    #[test]
    fn every_form_says_how_many_images_of_how_many() {
        let (split, weights) = (Some("val".into()), Some("last".into()));
        let scope = Scope { split, weights, images: Some(24), split_images: Some(100), ..Scope::default() };
        let table = table().on(&scope);
        let sentence = "n/a: no basic run. 24 of 100 images of split val, weights: last.";
        for text in [table.plain(), table.markdown(), table.latex(), table.html()] {
            assert!(text.contains(sentence), "{text}");
        }
        let csv = table.csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "run,mean IoU,added,split,images,split_images");
        assert_eq!(lines[2], "basic,,,val,24,100");
        let unknown = super::tests::table().on(&Scope::default());
        assert_eq!((unknown.note.as_str(), unknown.constants.len()), ("n/a: no basic run.", 0));
    }

    #[test]
    fn latex_is_escaped() {
        let text = table().latex();
        assert!(
            text.contains("{lrr}") && text.contains("a|b\\_\"c\", <d> & 0.1235 & 31.2 \\% \\\\\n"),
            "{text}"
        );
        assert!(text.contains("\\caption{Runs \\& times. n/a: no basic run.}"), "{text}");
        assert_eq!(latex("a\\b^~{"), "a\\textbackslash{}b\\textasciicircum{}\\textasciitilde{}\\{");
    }

    #[test]
    fn html_is_escaped_and_fractions_have_bars() {
        let html = table().html();
        assert!(html.contains("<td>a|b_&quot;c&quot;, &lt;d&gt;</td>"), "{html}");
        assert!(html.contains("<td class=\"number\" style=\"--share:12.3%\">0.1235</td>"), "{html}");
        assert!(html.contains("<caption>Runs &amp; times</caption>"), "{html}");
    }
}
