//! Tables in LaTeX.

use super::{Cell, Table};

impl Table {
    /// The table as a `table` environment with the rules of the package booktabs.
    pub fn latex(&self) -> String {
        let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
        let cell = |(place, cell): ((usize, usize), &Cell)| {
            let text = latex(&cell.shown());
            if self.bold.contains(&place) { format!("\\textbf{{{text}}}") } else { text }
        };
        let row = |(row, cells): (usize, &Vec<Cell>)| {
            line(cells.iter().enumerate().map(|(column, shown)| cell(((row, column), shown))).collect())
        };
        let columns: String =
            (0..self.columns.len()).map(|column| if self.is_text(column) { 'l' } else { 'r' }).collect();
        let mut text = format!(
            "% \\usepackage{{booktabs}}\n\\begin{{table}}\n  \\centering\n  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n"
        );
        text += &line(self.heads().iter().map(|head| latex(head)).collect());
        text += "    \\midrule\n";
        text.extend(self.rows.iter().enumerate().map(row));
        let caption = [self.title.as_str(), self.note.as_str()].join(". ");
        let caption = latex(caption.trim_end_matches([' ', '.']));
        text += &format!("    \\bottomrule\n  \\end{{tabular}}\n  \\caption{{{caption}.}}\n\\end{{table}}\n");
        text
    }
}

/// `text` with LaTeX's special characters escaped.
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
    use super::super::tests::sample;
    use super::latex;

    #[test]
    fn latex_is_escaped() {
        let text = sample().latex();
        assert!(
            text.contains("{lrr}") && text.contains("a|b\\_\"c\", <d> & 0.1235 & 31.2 \\% \\\\\n"),
            "{text}"
        );
        assert!(text.contains("\\caption{Runs \\& times. n/a: no basic run.}"), "{text}");
        assert_eq!(latex("a\\b^~{"), "a\\textbackslash{}b\\textasciicircum{}\\textasciitilde{}\\{");
    }
}
