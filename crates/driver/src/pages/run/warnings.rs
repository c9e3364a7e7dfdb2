//! The report's warnings: about the data, the choice of the weights, and the attacks.

use crate::draw::html::escape;
use crate::pages::summary::RunSummary;
use crate::pages::warnings::{SELECTED, by_attack};

/// All warnings of `run` as pairs of a place and a message, one for each attack and kind.
pub(super) fn all(run: &RunSummary) -> Vec<(String, String)> {
    let data = run.provenance.as_ref().map_or(&[][..], |provenance| &provenance.data.warnings);
    let data = data.iter().map(|warning| ("data".to_owned(), warning.clone()));
    let selected = run.evaluation.scope.selected_on_evaluated_split;
    let selected = selected.then(|| ("weights".to_owned(), SELECTED.to_owned()));
    data.chain(selected).chain(by_attack(&run.evaluation.warnings)).collect()
}

/// The section with all warnings.
pub(super) fn section(run: &RunSummary) -> String {
    let item = |(place, message): (String, String)| {
        format!("<li><strong>{}</strong>: {}</li>\n", escape(&place), escape(&message))
    };
    let items: String = all(run).into_iter().map(item).collect();
    if items.is_empty() { items } else { format!("<ul class=\"warnings\">\n{items}</ul>\n") }
}
