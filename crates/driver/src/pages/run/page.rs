//! The page of one run: `report.html`.

use robustseg_evaluation::Scope;

use super::{examples, facts, monitor, provenance, scores, time};
use crate::draw::html::{self, Page};
use crate::pages::names::paper_name;
use crate::pages::summary::RunSummary;

/// How to read the loss along the attack's direction.
const LANDSCAPE: &str = "<p class=\"note\">0 is the image, 1 the adversarial example. The loss should rise all the way. A loss \
                         that falls before 1 hints at masked gradients, as after catastrophic overfitting.</p>\n";

/// The page of `run` with its drawn `charts` (names and SVG).
pub(super) fn render(run: &RunSummary, charts: &[(&str, String)]) -> anyhow::Result<String> {
    let chart = |wanted: &str, description: &str| {
        let found = charts.iter().find(|(name, _)| *name == wanted);
        found.map_or(String::new(), |(_, svg)| html::chart(svg, description))
    };
    let mut page = Page::new(&run.name(), &lead(run));
    page.section("Summary", &facts::facts(run));
    page.section("Warnings", &facts::warnings(run));
    let tables = scores::tables(run);
    let table = |wanted: &str| tables.iter().find(|(name, _)| *name == wanted).map(|(_, table)| table.html());
    let robustness = chart(
        "robustness",
        "Mean IoU over epsilon, a line for each attack and a bold one for the worst case over all",
    ) + &chart("robustness_l2", "Mean IoU over epsilon in l2 balls, a line for each attack");
    let of_attacks =
        ["scores", "worst_case_over", "smallest", "passes"].map(|name| table(name).unwrap_or_default());
    page.section("Robustness", &(robustness + &of_attacks.concat()));
    if let Some(gallery) = &run.gallery {
        let landscape =
            chart("landscape", "Cross-entropy along the attack's direction, a line for each example");
        let note = if landscape.is_empty() { "" } else { LANDSCAPE };
        page.section("Examples", &(examples::section(run, gallery)? + &landscape + note));
    }
    page.section("Classes", &table("classes").unwrap_or_default());
    let curves = chart("loss", "Training loss over steps")
        + &chart("validation", "Clean mean IoU on validation samples over steps")
        + &chart(
            "epsilons",
            "Shares of the adversarial examples by epsilon, a line for each part of the training",
        );
    if !curves.is_empty() {
        page.section("Training", &format!("<div class=\"charts\">\n{curves}</div>\n"));
    }
    page.section("Catastrophic overfitting", &monitor::section(run, charts));
    if let Some(timing) = &run.timing {
        page.section("Time", &time::section(timing));
    }
    if let Some(spec) = &run.spec {
        page.section("Resolved spec", &html::folded("every setting, defaults filled in", &spec.to_yaml()?));
    }
    if let Some(found) = &run.provenance {
        page.section("Provenance", &provenance::table(found, &run.evaluation.scope).html());
    }
    Ok(page.finish())
}

fn lead(run: &RunSummary) -> String {
    let Scope { split, images, split_images, .. } = &run.evaluation.scope;
    let images = match (images, split_images) {
        (Some(images), Some(all)) => format!("{images} of {all} images of "),
        _ => String::new(),
    };
    let Some(spec) = &run.spec else {
        return "Evaluation of a checkpoint".into();
    };
    let manifest = spec.data.manifest.file_stem().unwrap_or_default().to_string_lossy();
    let method = run.method().map_or("an unknown method", paper_name);
    let split = split.as_deref().unwrap_or_else(|| spec.evaluation_split());
    if let Some(checkpoint) = run.provenance.as_ref().and_then(|provenance| provenance.checkpoint.as_ref()) {
        return format!("{} evaluated on {images}split {split} of {manifest}", checkpoint.path);
    }
    format!("PSPNet trained with {method} on {manifest}, evaluated on {images}split {split}")
}
