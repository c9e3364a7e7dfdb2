//! Tables in HTML.

use super::{Cell, Column, Table};
use crate::draw::escape::escape;
use crate::draw::html::scrolling;

impl Table {
    /// The table in HTML, its title as caption and the note as a paragraph below. A table wider than
    /// the page scrolls, by touch and by keys.
    pub fn html(&self) -> String {
        let class = |column: usize| if self.is_text(column) { "" } else { " class=\"number\"" };
        // An interval takes two lines if it must.
        let class_of = |column: usize, cell: &Cell| match cell {
            Cell::Interval(_) => " class=\"interval\"",
            _ => class(column),
        };
        let head = |(column, Column { name, detail }): (usize, &Column)| {
            let (class, name) = (class(column), escape(name));
            let detail =
                if detail.is_empty() { String::new() } else { format!("<small>{}</small>", escape(detail)) };
            format!("<th scope=\"col\"{class}>{name}{detail}</th>")
        };
        let cell = |place: (usize, usize), cell: &Cell| {
            let bar = match cell {
                Cell::Fraction(value) if self.bars => {
                    format!(" style=\"--share:{:.1}%\"", 100.0 * value.clamp(0.0, 1.0))
                }
                _ => String::new(),
            };
            let text = escape(&cell.shown());
            let text = if self.bold.contains(&place) { format!("<b>{text}</b>") } else { text };
            if place.1 == 0 && self.is_text(0) {
                format!("<th scope=\"row\">{text}</th>")
            } else {
                format!("<td{}{bar}>{text}</td>", class_of(place.1, cell))
            }
        };
        let row = |(row, cells): (usize, &Vec<Cell>)| {
            let cells: String =
                cells.iter().enumerate().map(|(column, shown)| cell((row, column), shown)).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let head: String = self.columns.iter().enumerate().map(head).collect();
        let body: String = self.rows.iter().enumerate().map(row).collect();
        let title = escape(&self.title);
        let caption = if title.is_empty() {
            String::new()
        } else {
            format!("<caption><span>{title}</span></caption>\n")
        };
        let table =
            format!("<table>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>");
        let note = if self.note.is_empty() {
            String::new()
        } else {
            format!("<p class=\"note\">{}</p>\n", escape(&self.note))
        };
        scrolling(&self.title, &table) + &note
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn html_is_escaped_and_fractions_may_have_bars() {
        let html = Table { bars: true, ..sample() }.html();
        assert!(html.contains("<th scope=\"row\">a|b_&quot;c&quot;, &lt;d&gt;</th>"), "{html}");
        assert!(html.contains("<td class=\"number\" style=\"--share:12.3%\">0.1235</td>"), "{html}");
        assert!(html.contains("<caption><span>Runs &amp; times</span></caption>"), "{html}");
        assert!(!sample().html().contains("--share"));
    }
}
