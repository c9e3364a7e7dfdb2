//! Legends next to pictures.

use robustseg_datasets::Class;

use crate::draw::html::escape;

/// `content` (HTML) with `legends` (HTML) to the right, which stay in view.
pub(super) fn next_to(content: &str, legends: &str) -> String {
    format!(
        "<div class=\"beside\">\n<div>\n{content}</div>\n<aside tabindex=\"0\" aria-label=\"Legend\">\n{legends}</aside>\n\
         </div>\n"
    )
}

/// The colours of `classes` with the name of each label.
pub(super) fn classes(classes: &[Class], name: impl Fn(usize) -> String) -> String {
    let classes = classes.iter().enumerate().map(|(label, class)| (name(label), class.colour));
    list("Classes", classes.chain([("not labelled".to_owned(), [255; 3])]))
}

/// Colours and their names under `heading` (text).
pub(super) fn list(heading: &str, entries: impl IntoIterator<Item = (String, [u8; 3])>) -> String {
    let entry = |(name, [red, green, blue]): (String, [u8; 3])| {
        let name = escape(&name);
        format!("<li><span style=\"background:rgb({red},{green},{blue})\"></span>{name}</li>\n")
    };
    let entries: String = entries.into_iter().map(entry).collect();
    format!("<h3>{}</h3>\n<ul class=\"classes\">\n{entries}</ul>\n", escape(heading))
}
