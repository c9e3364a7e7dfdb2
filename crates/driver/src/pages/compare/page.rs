//! The page of several runs: `compare.html`.

use robustseg_words::counted;

use super::comparison::Comparison;
use crate::draw::html::{self, Page};

/// The page of `comparison` with its drawn `figures` (titles and SVG).
pub(super) fn render(comparison: &Comparison, figures: &[(String, String)]) -> String {
    let runs = comparison.runs.len();
    let names: Vec<&str> = comparison.runs.iter().map(|run| run.label.as_str()).collect();
    let scope = comparison.scope().to_string();
    let lead = names.join(", ") + if scope.is_empty() { "" } else { "; " } + &scope;
    let mut page = Page::new(&format!("{} compared", counted(runs, "run")), &lead);
    let figure = |(title, svg): &(String, String)| {
        html::chart(svg, &format!("Mean IoU over epsilon under {title}, a line for each run"))
    };
    page.section("Robustness", &figures.iter().map(figure).collect::<String>());
    let tables: String = comparison.tables().iter().map(|(_, table)| table.html()).collect();
    page.section("Tables", &tables);
    page.finish()
}
