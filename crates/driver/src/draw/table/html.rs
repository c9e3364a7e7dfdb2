//! Tables in HTML.

use super::{Cell, Table};
use crate::draw::html::escape;

impl Table {
    /// The table in HTML, its title as caption and the note as a paragraph below.
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

#[cfg(test)]
mod tests {
    use super::super::tests::sample;

    #[test]
    fn html_is_escaped_and_fractions_have_bars() {
        let html = sample().html();
        assert!(html.contains("<td>a|b_&quot;c&quot;, &lt;d&gt;</td>"), "{html}");
        assert!(html.contains("<td class=\"number\" style=\"--share:12.3%\">0.1235</td>"), "{html}");
        assert!(html.contains("<caption>Runs &amp; times</caption>"), "{html}");
    }
}
