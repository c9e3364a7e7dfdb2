//! The page of several runs: `compare.html`.

use robustseg_words::counted;

use super::comparison::Comparison;
use crate::draw::chart::Chart;
use crate::draw::html::{self, Page};

/// The page of `comparison` with its `charts`.
pub(super) fn render(comparison: &Comparison, charts: &[(String, Chart)]) -> String {
    let runs = comparison.runs.len();
    let names: Vec<&str> = comparison.runs.iter().map(|run| run.label.as_str()).collect();
    let mut page = Page::new(&format!("{} compared", counted(runs, "run")), &names.join(", "));
    let scope = comparison.scope().to_string();
    page.lead(&html::definitions((!scope.is_empty()).then_some(("Images", scope))));
    page.section("Robustness", &charts.iter().map(|(_, chart)| html::wide_chart(chart)).collect::<String>());
    let tables: String = comparison.tables().iter().map(|(_, table)| table.html()).collect();
    page.section("Tables", &tables);
    page.finish()
}
