//! Pages of one HTML file that loads nothing.

mod parts;

pub use parts::{chart, definitions, facts, folded, picture, scrolling, slider, wide_chart};

pub use super::escape::escape;

const STYLE: &str =
    concat!(include_str!("style.css"), include_str!("chart.css"), include_str!("picture.css"));

/// A page of sections, built from top to bottom.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    head: String,
    contents: String,
    body: String,
}

impl Page {
    /// A page with `title` and below it `message`, the sentence that a reader takes away (text).
    pub fn new(title: &str, message: &str) -> Self {
        let head = format!("<h1>{}</h1>\n<p class=\"message\">{}</p>\n", escape(title), escape(message));
        Self { title: title.to_owned(), head, contents: String::new(), body: String::new() }
    }

    /// Adds `content` (HTML) above the list of contents.
    pub fn lead(&mut self, content: &str) {
        self.head += content;
    }

    /// Adds a section with `heading` (text) and `content` (HTML). Empty content adds no section.
    pub fn section(&mut self, heading: &str, content: &str) {
        if content.is_empty() {
            return;
        }
        let (id, heading) = (anchor(heading), escape(heading));
        self.contents += &format!("<li><a href=\"#{id}\">{heading}</a></li>\n");
        self.body += &format!("<section id=\"{id}\">\n<h2>{heading}</h2>\n{content}</section>\n");
    }

    /// The document. Its content security policy forbids browsers to load or run anything.
    pub fn finish(self) -> String {
        let Self { title, head, contents, body } = self;
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
{head}<nav aria-label=\"Contents\"><ul>
{contents}</ul></nav>
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

/// The anchor of the section `heading`: its letters and digits in lower case, with hyphens between
/// words.
pub fn anchor(heading: &str) -> String {
    let words = heading.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut page = Page::new("<script>1</script>", "<b>");
        page.lead(&definitions([("<u>", "<u>".into())]));
        page.section("<i> and \"more\"", &(facts([("<u>", "<u>".into())]) + &folded("<u>", "<p>x</p>")));
        page.section("empty", "");
        let html = page.finish();
        for markup in ["<script", "<b>", "<i>", "<u>", "<h2>empty"] {
            assert!(!html.contains(markup), "{markup}: {html}");
        }
        assert!(html.contains("<title>&lt;script&gt;1&lt;/script&gt;</title>"));
        assert!(html.contains("<a href=\"#i-and-more\">") && html.contains("<section id=\"i-and-more\">"));
    }
}
