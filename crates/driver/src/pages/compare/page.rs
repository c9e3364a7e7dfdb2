//! The page of several runs: `compare.html`.

use std::path::Path;

use robustseg_words::counted;

use super::charts::{CLEAN_AND_ATTACKED_FILE, WORST_CASE_FILE};
use super::comparison::Comparison;
use super::{links, pictures};
use crate::draw::chart::Chart;
use crate::draw::html::{self, Page, escape};

/// The page of `comparison` with its `charts`, for the folder `out`.
pub(super) fn render(
    comparison: &Comparison,
    charts: &[(String, Chart)],
    out: &Path,
) -> anyhow::Result<String> {
    let tables = comparison.tables();
    let table = |wanted: &str| {
        let found = tables.iter().find(|(name, _)| name == wanted);
        found.map_or(String::new(), |(_, table)| table.html())
    };
    let mut page =
        Page::new(&format!("{} compared", counted(comparison.runs.len(), "run")), &comparison.message());
    let scope = comparison.scope().to_string();
    page.lead(&html::definitions((!scope.is_empty()).then_some(("Images", scope))));
    let wide = |wanted: &str| -> String {
        charts.iter().filter(|(name, _)| name == wanted).map(|(_, chart)| html::wide_chart(chart)).collect()
    };
    let of_attacks =
        charts.iter().filter(|(name, _)| ![WORST_CASE_FILE, CLEAN_AND_ATTACKED_FILE].contains(&&**name));
    let of_attacks: String = of_attacks.map(|(_, chart)| html::chart(chart)).collect();
    let of_attacks = if of_attacks.is_empty() {
        of_attacks
    } else {
        format!("<div class=\"charts\">\n{of_attacks}</div>\n")
    };
    let by_epsilon = tables.iter().filter(|(name, _)| name.starts_with("mean_iou_"));
    let by_epsilon: String = by_epsilon.map(|(_, table)| table.html()).collect();
    let by_epsilon =
        html::folded("Mean IoU by epsilon, under each attack and in the worst case", &by_epsilon);
    let ranking = table("ranking") + &reports(comparison, out);
    let robustness = [wide(WORST_CASE_FILE), ranking, wide(CLEAN_AND_ATTACKED_FILE), of_attacks, by_epsilon];
    page.section("Robustness", &robustness.concat());
    page.section("Seeds", &table("seeds"));
    page.section("Settings", &table("differences"));
    page.section("Examples", &pictures::section(&comparison.ranked(), &comparison.class_names)?);
    page.section("Classes", &(table("classes_worst_case") + &table("classes")));
    page.section("Clean scores", &table("scores"));
    page.section("Time", &table("time"));
    Ok(page.finish())
}

/// Links to the reports of the runs.
fn reports(comparison: &Comparison, out: &Path) -> String {
    let ranked = comparison.ranked();
    let link = ranked.iter().filter_map(|run| {
        let address = links::relative(out, &run.path.join("report.html"))?;
        Some(format!("<a href=\"{}\">{}</a>", escape(&address), escape(&run.label)))
    });
    let links: Vec<String> = link.collect();
    if links.is_empty() {
        String::new()
    } else {
        format!("<p class=\"note\">Reports: {}</p>\n", links.join(", "))
    }
}
