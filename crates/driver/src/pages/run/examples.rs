//! The report's section with the examples of the gallery.

use crate::draw::html::{self, escape};
use crate::draw::picture::ERRORS;
use crate::pages::gallery::Gallery;
use crate::pages::names::curve_title;
use crate::pages::summary::RunSummary;

/// The pictures of an example and their captions. Each pair is shown one above the other.
const PICTURES: [(&str, &str); 6] = [
    ("image", "image"),
    ("adversarial", "adversarial image"),
    ("prediction", "prediction"),
    ("adversarial_prediction", "prediction on the adversarial image"),
    ("label", "label"),
    ("error", "errors"),
];

/// The pictures of all examples, their legends, and the attack.
pub(super) fn section(run: &RunSummary, gallery: &Gallery) -> anyhow::Result<String> {
    let mut content = String::new();
    for example in &gallery.examples {
        let accuracy = example.pixel_accuracy.map_or(String::new(), |share| {
            format!(", {:.1} % of the pixels right under the attack", 100.0 * share)
        });
        content += &format!("<h3>{}{accuracy}</h3>\n<div class=\"example\">\n", escape(&example.id));
        for (name, caption) in PICTURES {
            content += &html::picture(&example.png(&run.path, name)?, caption);
        }
        let caption = format!("perturbation, {} times", example.perturbation_times);
        content += &html::picture(&example.png(&run.path, "perturbation")?, &caption);
        content += "</div>\n";
    }
    if content.is_empty() {
        return Ok(content);
    }
    content += "<ul class=\"classes\">\n";
    for (label, class) in gallery.classes.iter().enumerate() {
        let [r, g, b] = class.colour;
        let name = escape(&run.class_name(label));
        content += &format!("<li><span style=\"background:rgb({r},{g},{b})\"></span>{name}</li>\n");
    }
    content +=
        "<li><span style=\"background:#fff\"></span>not labelled</li>\n</ul>\n<ul class=\"classes\">\n";
    for (name, [r, g, b]) in ERRORS {
        content += &format!("<li><span style=\"background:rgb({r},{g},{b})\"></span>{name}</li>\n");
    }
    content += "</ul>\n";
    let attack = curve_title(&gallery.attack, &gallery.parameters);
    let note = format!(
        "The images of which {attack}, at epsilon {}, leaves the fewest pixels right.",
        gallery.epsilon
    );
    Ok(content + &format!("<p class=\"note\">{}</p>\n", escape(&note)))
}
