//! Pages of one HTML file that loads nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const STYLE: &str = include_str!("style.css");

/// `text` for HTML, between tags or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A page of sections, built from top to bottom.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page with `title` (text) and below it `lead` (text).
    pub fn new(title: &str, lead: &str) -> Self {
        let body = format!("<h1>{}</h1>\n<p class=\"lead\">{}</p>\n", escape(title), escape(lead));
        Self { title: title.to_owned(), body }
    }

    /// Adds a section with `heading` (text) and `content` (HTML). Empty content adds no section.
    pub fn section(&mut self, heading: &str, content: &str) {
        if !content.is_empty() {
            self.body += &format!("<section>\n<h2>{}</h2>\n{content}</section>\n", escape(heading));
        }
    }

    /// The document. Its content security policy forbids browsers to load or run anything.
    pub fn finish(self) -> String {
        let Self { title, body } = self;
        format!(
            "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>{}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
{body}</main>
<footer>robustseg {}</footer>
</body>
</html>
",
            escape(&title),
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// A chart (an SVG document) described by `description` (text).
pub fn chart(svg: &str, description: &str) -> String {
    format!("<figure class=\"chart\" role=\"img\" aria-label=\"{}\">\n{svg}</figure>\n", escape(description))
}

/// A picture (the bytes of a PNG) with `caption` (text).
pub fn picture(png: &[u8], caption: &str) -> String {
    let caption = escape(caption);
    format!(
        "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{}\"><figcaption>{caption}</figcaption></figure>\n",
        STANDARD.encode(png)
    )
}

/// A list of the most important values: pairs of a name and a value, both text.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fact = |(name, value): (&str, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(&value))
    };
    let facts: String = facts.into_iter().map(fact).collect();
    if facts.is_empty() { facts } else { format!("<dl class=\"facts\">\n{facts}</dl>\n") }
}

/// Preformatted `text`, folded under `summary` (text).
pub fn folded(summary: &str, text: &str) -> String {
    format!("<details><summary>{}</summary>\n<pre>{}</pre>\n</details>\n", escape(summary), escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a href='x'>\"&amp;\""), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;amp;&quot;");
        let mut page = Page::new("<script>1</script>", "<b>");
        page.section(
            "<i>",
            &(facts([("<u>", "<u>".into())]) + &folded("<u>", "</pre><u>") + &chart("", "\"<u>")),
        );
        page.section("empty", "");
        let html = page.finish();
        for markup in ["<script", "<b>", "<i>", "<u>", "<h2>empty"] {
            assert!(!html.contains(markup), "{markup}: {html}");
        }
        assert!(html.contains("<title>&lt;script&gt;1&lt;/script&gt;</title>"));
    }

    #[test]
    fn a_picture_is_inside_the_page() {
        let html = picture(b"abcd", "a > b");
        assert!(html.contains("src=\"data:image/png;base64,YWJjZA==\""), "{html}");
        assert!(html.contains("<figcaption>a &gt; b</figcaption>"), "{html}");
    }
}
