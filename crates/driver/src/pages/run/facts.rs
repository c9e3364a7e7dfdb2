//! The report's first sections: the most important values, and the warnings.

use robustseg_evaluation::{Scope, SourceRecord};

use crate::draw::html::{self, escape};
use crate::draw::time::duration;
use crate::pages::names::paper_name;
use crate::pages::summary::RunSummary;
use crate::pages::warnings::{SELECTED, by_attack};
use crate::provenance::origin_in_words;

/// The most important values of `run`.
pub(super) fn facts(run: &RunSummary) -> String {
    let clean = &run.evaluation.clean;
    let mut facts = Vec::new();
    facts.push(("method", run.method().map_or("unknown", paper_name).to_owned()));
    let training = run.evaluation.training.as_ref();
    let number = |value: Option<u64>| value.map_or("unknown".into(), |value| value.to_string());
    facts.push(("seed", number(training.map(|training| training.seed))));
    facts.push(("step of the weights", number(training.map(|training| training.step))));
    let Scope { split, protocol, images, split_images, weights, .. } = &run.evaluation.scope;
    if let Some(images) = images {
        let all = split_images.map_or(String::new(), |all| format!(" of {all}"));
        let split = split.as_ref().map_or(String::new(), |split| format!(" of split {split}"));
        facts.push(("images", format!("{images}{all}{split}")));
    }
    facts.extend(protocol.as_ref().map(|protocol| ("protocol", protocol.to_string())));
    facts.extend(weights.clone().map(|weights| ("weights", weights)));
    let source = |SourceRecord { name, training, .. }: &SourceRecord| {
        format!("{name} ({})", origin_in_words(training.as_ref(), None))
    };
    let sources: Vec<String> = run.evaluation.sources.iter().map(source).collect();
    facts.extend((!sources.is_empty()).then(|| ("sources of examples", sources.join("; "))));
    facts.push(("clean mean IoU", format!("{:.4}", clean.miou)));
    facts.push(("clean pixel accuracy", format!("{:.4}", clean.pixel_accuracy)));
    let points =
        run.evaluation.curves.iter().flat_map(|curve| &curve.points).chain(&run.evaluation.worst_case);
    let worst = points.map(|point| point.scores.miou).reduce(f64::min);
    facts.extend(worst.map(|miou| ("lowest mean IoU under attack", format!("{miou:.4}"))));
    let selected = usize::from(run.evaluation.scope.selected_on_evaluated_split);
    let warned = run.evaluation.warnings.len() + of_data(run).len() + selected;
    facts.extend((warned > 0).then(|| ("warnings", warned.to_string())));
    if let Some(timing) = &run.timing {
        facts.push(("training", duration(timing.training_seconds)));
        facts.push(("seconds per step", format!("{:.3}", timing.step_seconds)));
        facts.push(("evaluation", duration(timing.evaluation_seconds)));
        facts.push(("device", timing.device.clone()));
        let memory = timing.peak_memory_bytes;
        facts.extend(
            memory.map(|bytes| ("peak memory", format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)))),
        );
    }
    html::facts(facts)
}

/// The warnings about the data.
fn of_data(run: &RunSummary) -> &[String] {
    run.provenance.as_ref().map_or(&[], |provenance| &provenance.data.warnings)
}

/// All warnings: about the data, about the choice of the weights, and one line per attack and kind.
pub(super) fn warnings(run: &RunSummary) -> String {
    let data = of_data(run).iter().map(|warning| ("data".to_owned(), warning.clone()));
    let selected = run.evaluation.scope.selected_on_evaluated_split;
    let selected = selected.then(|| ("weights".to_owned(), SELECTED.to_owned()));
    let lines = data.chain(selected).chain(by_attack(&run.evaluation.warnings));
    let item = |(place, message): (String, String)| {
        format!("<li><strong>{}</strong>: {}</li>\n", escape(&place), escape(&message))
    };
    let items: String = lines.map(item).collect();
    if items.is_empty() { items } else { format!("<ul class=\"warnings\">\n{items}</ul>\n") }
}
