//! The same images under each model.

use std::collections::HashSet;

use super::run::ComparedRun;
use crate::draw::html;
use crate::pages::gallery::GalleryExample;
use crate::pages::legends;

/// The most images that are shown.
const MOST: usize = 3;

/// The images that several of `runs` have among their examples: image and label, and the prediction
/// of each run under the attack. Empty without such an image.
pub(super) fn section(runs: &[&ComparedRun], class_names: &[String]) -> anyhow::Result<String> {
    let of = |run: &ComparedRun, id: &str| -> Option<GalleryExample> {
        run.gallery.as_ref()?.examples.iter().find(|example| example.id == id).cloned()
    };
    let all = runs.iter().filter_map(|run| run.gallery.as_ref()).flat_map(|gallery| &gallery.examples);
    let mut seen = HashSet::new();
    let ids = all.map(|example| example.id.as_str()).filter(|id| seen.insert(*id));
    let shared = ids.filter(|id| runs.iter().filter(|run| of(run, id).is_some()).count() > 1);
    let mut content = String::new();
    for id in shared.take(MOST) {
        let examples: Vec<_> = runs.iter().filter_map(|run| Some((run, of(run, id)?))).collect();
        content += &format!("<h3>{}</h3>\n<div class=\"example\">\n", html::escape(id));
        if let Some((run, example)) = examples.first() {
            for name in ["image", "label"] {
                content += &html::picture(&example.png(&run.path, name)?, &format!("{name} of {id}"), name);
            }
        }
        for (run, example) in &examples {
            let right = example.pixel_accuracy;
            let right = right.map_or(String::new(), |share| format!(", {:.1} % right", 100.0 * share));
            let alt = format!("prediction of {} for {id} under the attack", run.label);
            let png = example.png(&run.path, "adversarial_prediction")?;
            content += &html::picture(&png, &alt, &format!("{}{right}", run.label));
        }
        content += "</div>\n";
    }
    let Some(gallery) = runs.iter().find_map(|run| run.gallery.as_ref()).filter(|_| !content.is_empty())
    else {
        return Ok(content);
    };
    let name = |label: usize| class_names.get(label).cloned().unwrap_or_else(|| format!("class {label}"));
    let legend = legends::classes(&gallery.classes, name);
    Ok(format!(
        "<p class=\"note\">The prediction of each run under its attack, for images that several runs have among their worst.\
         </p>\n{}",
        legends::next_to(&content, &legend)
    ))
}
