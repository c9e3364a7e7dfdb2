//! The page of one run: `report.html`.

use super::{classes, examples, message, monitor, provenance, time, warnings};
use crate::draw::chart::Chart;
use crate::draw::html::{self, Page};
use crate::draw::table::Table;
use crate::pages::confusions::Confusions;
use crate::pages::summary::RunSummary;

/// How to read the loss along the attack's direction.
const LANDSCAPE: &str = "<p class=\"note\">0 is the image, 1 the adversarial example. The loss should rise all the way. A loss \
                         that falls before 1 hints at masked gradients, as after catastrophic overfitting.</p>\n";

/// The page of `run` with its `charts` and `tables`, by name.
pub(super) fn render(
    run: &RunSummary,
    charts: &[(&str, Chart)],
    tables: &[(&str, Table)],
    confusions: Option<&Confusions>,
) -> anyhow::Result<String> {
    let chart = |wanted: &str| charts.iter().find(|(name, _)| *name == wanted).map(|(_, chart)| chart);
    let small = |wanted: &str| chart(wanted).map_or(String::new(), html::chart);
    let wide = |wanted: &str| chart(wanted).map_or(String::new(), html::wide_chart);
    let table = |wanted: &str| {
        let found = tables.iter().find(|(name, _)| *name == wanted);
        found.map_or(String::new(), |(_, table)| table.html())
    };
    let mut page = Page::new(&run.name(), &message::sentence(&run.evaluation));
    page.lead(&message::lead(run));
    let scores =
        ["mean_iou", "pixel_accuracy", "mean_iou_l2", "pixel_accuracy_l2", "smallest"].map(table).concat();
    let more = ["metrics", "worst_case_over", "passes"].map(table).concat();
    let more = html::folded("Further metrics and the cost of the attacks", &more);
    page.section("Robustness", &(wide("robustness") + &wide("robustness_l2") + &scores + &more));
    page.section("Warnings", &warnings::section(run));
    if let Some(gallery) = &run.gallery {
        let landscape = wide("landscape");
        let note = if landscape.is_empty() { "" } else { LANDSCAPE };
        page.section("Examples", &(examples::section(run, gallery)? + &landscape + note));
    }
    let confused = confusions.map_or(String::new(), |found| classes::confusions(run, found));
    page.section("Classes", &(table("classes") + &confused));
    let curves = ["loss", "validation", "epsilons"].map(small).concat();
    if !curves.is_empty() {
        page.section("Training", &format!("<div class=\"charts\">\n{curves}</div>\n"));
    }
    page.section("Catastrophic overfitting", &monitor::section(run, charts));
    if let Some(timing) = &run.timing {
        page.section("Time and machine", &time::section(timing));
    }
    if let Some(spec) = &run.spec {
        let text = format!("<pre tabindex=\"0\">{}</pre>\n", html::escape(&spec.to_yaml()?));
        page.section("Resolved spec", &html::folded("every setting, defaults filled in", &text));
    }
    if let Some(found) = &run.provenance {
        page.section("Provenance", &provenance::table(found, &run.evaluation.scope).html());
    }
    Ok(page.finish())
}
