//! Parts of pages: charts, pictures, facts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::draw::chart::{Chart, Size};
use crate::draw::escape::escape;

/// `chart` in half the width of a page, or the whole one of a phone.
pub fn chart(chart: &Chart) -> String {
    figure(chart, &chart.svg(Size::Narrow))
}

/// `chart` as wide as the page, with a narrow form for phones.
pub fn wide_chart(chart: &Chart) -> String {
    let form = |class: &str, size| format!("<div class=\"{class}\">\n{}</div>\n", chart.svg(size));
    figure(chart, &(form("wide", Size::Wide) + &form("narrow", Size::Narrow)))
}

fn figure(chart: &Chart, svg: &str) -> String {
    format!(
        "<figure class=\"chart\" role=\"img\" aria-label=\"{}\">\n{svg}</figure>\n",
        escape(&chart.in_words())
    )
}

/// A picture (the bytes of a PNG) that `alt` describes, over `caption`; both are text.
pub fn picture(png: &[u8], alt: &str, caption: &str) -> String {
    format!("<figure>{}<figcaption>{}</figcaption></figure>\n", image(png, alt), escape(caption))
}

/// Two pictures of one size (the bytes of PNGs, each with its description) in one place. Scrolling
/// to the right uncovers the second one, by touch, wheel or keys and without a script.
pub fn slider(before: (&[u8], &str), after: (&[u8], &str), caption: &str) -> String {
    let caption = escape(caption);
    format!(
        "<figure><div class=\"slider\" tabindex=\"0\" role=\"group\" aria-label=\"{caption}\"><div class=\"track\">{}<div \
         class=\"cover\">{}</div></div></div><figcaption>{caption}</figcaption></figure>\n",
        image(before.0, before.1),
        image(after.0, after.1)
    )
}

fn image(png: &[u8], alt: &str) -> String {
    format!("<img alt=\"{}\" src=\"data:image/png;base64,{}\">", escape(alt), STANDARD.encode(png))
}

/// Values in tiles: pairs of a name and a value, both text.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    list("facts", facts)
}

/// Values in lines: pairs of a name and a value, both text.
pub fn definitions<'a>(definitions: impl IntoIterator<Item = (&'a str, String)>) -> String {
    list("definitions", definitions)
}

fn list<'a>(class: &str, entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let entry = |(name, value): (&str, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(&value))
    };
    let entries: String = entries.into_iter().map(entry).collect();
    if entries.is_empty() { entries } else { format!("<dl class=\"{class}\">\n{entries}</dl>\n") }
}

/// `content` (HTML) folded under `summary` (text). Empty content is left out.
pub fn folded(summary: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!("<details><summary>{}</summary>\n{content}</details>\n", escape(summary))
}

/// `content` (HTML) that scrolls where it is wider than the page, by touch and by keys. `label`
/// (text) names it; without one it is a table.
pub fn scrolling(label: &str, content: &str) -> String {
    let label = if label.is_empty() { "table" } else { label };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">{content}</div>\n",
        escape(label)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::chart::Line;

    #[test]
    fn a_picture_is_inside_the_page() {
        let html = picture(b"abcd", "a \"b\"", "a > b");
        assert!(html.contains("alt=\"a &quot;b&quot;\" src=\"data:image/png;base64,YWJjZA==\""), "{html}");
        assert!(html.contains("<figcaption>a &gt; b</figcaption>"), "{html}");
        let html = slider((b"abcd", "one"), (b"efgh", "two"), "both");
        assert!(html.contains("alt=\"one\"") && html.contains("alt=\"two\""), "{html}");
    }

    #[test]
    fn charts_are_described_and_wide_ones_have_a_form_for_phones() {
        let line = Line::through("<u>", vec![(0.0, 0.5), (1.0, 0.25)]);
        let drawn = Chart::new("", "x", "y", vec![line]);
        assert_eq!(chart(&drawn).matches("<svg").count(), 1);
        let html = wide_chart(&drawn);
        assert_eq!(html.matches("<svg").count(), 2);
        assert!(html.contains("&lt;u&gt;: 0.5 at 0 to 0.25 at 1.") && !html.contains("<u>"), "{html}");
    }
}
