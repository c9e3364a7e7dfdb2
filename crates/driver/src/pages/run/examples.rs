//! The report's section with the examples of the gallery.

use crate::draw::html::{self, escape};
use crate::draw::picture::ERRORS;
use crate::pages::gallery::{Gallery, GalleryExample};
use crate::pages::legends;
use crate::pages::names::{curve_title, epsilon_in_words};
use crate::pages::summary::RunSummary;

/// The pictures of an example and their captions, without the image itself.
const PICTURES: [(&str, &str); 4] = [
    ("prediction", "prediction"),
    ("adversarial_prediction", "prediction under the attack"),
    ("label", "label"),
    ("error", "errors"),
];

/// The pictures of all examples with their legends to the right, and the attack.
pub(super) fn section(run: &RunSummary, gallery: &Gallery) -> anyhow::Result<String> {
    if gallery.examples.is_empty() {
        return Ok(String::new());
    }
    let pictures = gallery.examples.iter().map(|example| pictures(run, example));
    let pictures = pictures.collect::<anyhow::Result<String>>()?;
    let attack = curve_title(&gallery.attack, &gallery.parameters);
    let note = format!(
        "The images of which {attack}, at epsilon {}, leaves the fewest pixels right. Scroll the first picture of each to \
         the right to see the adversarial image.",
        epsilon_in_words(gallery.epsilon)
    );
    let errors = ERRORS.iter().map(|(name, colour)| ((*name).to_owned(), *colour));
    let legends =
        legends::classes(&gallery.classes, |label| run.class_name(label)) + &legends::list("Errors", errors);
    Ok(format!("<p class=\"note\">{}</p>\n", escape(&note)) + &legends::next_to(&pictures, &legends))
}

fn pictures(run: &RunSummary, example: &GalleryExample) -> anyhow::Result<String> {
    let GalleryExample { id, perturbation_times: times, .. } = example;
    let accuracy = example.pixel_accuracy.map_or(String::new(), |share| {
        format!(", {:.1} % of the pixels right under the attack", 100.0 * share)
    });
    let png = |name: &str| example.png(&run.path, name);
    let described = |what: &str| format!("{what} of {id}");
    let mut content = format!("<h3>{}{accuracy}</h3>\n<div class=\"example\">\n", escape(id));
    let (image, adversarial) = (described("image"), described("adversarial image"));
    content += &html::slider(
        (&png("image")?, &image),
        (&png("adversarial")?, &adversarial),
        &format!("{id}: image, to the right adversarial image"),
    );
    for (name, caption) in PICTURES {
        content += &html::picture(&png(name)?, &described(caption), caption);
    }
    let caption = format!("perturbation, {times} times");
    content += &html::picture(&png("perturbation")?, &described(&caption), &caption);
    Ok(content + "</div>\n")
}
