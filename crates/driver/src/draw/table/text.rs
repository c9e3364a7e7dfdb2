//! Tables as plain text, Markdown and CSV.

use super::{Cell, Table};

impl Table {
    /// The table for a terminal: title, columns aligned by spaces, note.
    pub fn plain(&self) -> String {
        let lines: Vec<Vec<String>> = std::iter::once(self.heads()).chain(self.shown(|text| text)).collect();
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

    /// The table in Markdown: a heading, a pipe table, the note.
    pub fn markdown(&self) -> String {
        let escape =
            |text: &String| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
        let line =
            |cells: &[String]| format!("| {} |\n", cells.iter().map(escape).collect::<Vec<_>>().join(" | "));
        let mut text = format!("### {}\n\n{}", escape(&self.title), line(&self.heads()));
        let rule = (0..self.columns.len()).map(|column| if self.is_text(column) { "---" } else { "---:" });
        text += &format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
        text.extend(self.shown(|text| format!("**{text}**")).map(|row| line(&row)));
        if !self.note.is_empty() {
            text += &format!("\n{}\n", escape(&self.note));
        }
        text
    }

    /// The table as comma-separated values (RFC 4180), with all digits. Title and note are left
    /// out, and the constants are the last columns.
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
        line(self.columns.iter().map(|column| column.name.clone()).chain(names).collect())
            + &rows.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;

    #[test]
    fn plain_text_is_aligned() {
        let expected = "Runs & times
run           mean IoU   added
a|b_\"c\", <d>    0.1235  31.2 %
basic              n/a     n/a
n/a: no basic run.
";
        assert_eq!(sample().plain(), expected);
    }

    #[test]
    fn markdown_keeps_its_columns() {
        let text = sample().markdown();
        assert!(
            text.starts_with("### Runs & times\n\n| run | mean IoU | added |\n| --- | ---: | ---: |\n"),
            "{text}"
        );
        assert!(text.contains("| a\\|b_\"c\", <d> | 0.1235 | 31.2 % |\n"), "{text}");
    }

    #[test]
    fn csv_has_all_digits_and_quotes() {
        let expected = "run,mean IoU,added\n\"a|b_\"\"c\"\", <d>\",0.123456,31.18\nbasic,,\n";
        assert_eq!(sample().csv(), expected);
    }
}
