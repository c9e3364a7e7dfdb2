//! All charts of a run.

use robustseg_attacks::Norm;
use robustseg_evaluation::Curve;

use super::{epsilons, monitor};
use crate::draw::chart::{Chart, Line};
use crate::pages::curves;
use crate::pages::names::title_of_curve;
use crate::pages::summary::RunSummary;

/// All charts of `run`, by the names of their files in `figures` without `.svg`.
pub(super) fn all(run: &RunSummary) -> Vec<(&'static str, Chart)> {
    let mut charts = Vec::new();
    let line = |curve: &Curve| curves::line(&title_of_curve(curve), curve);
    let (others, main): (Vec<&Curve>, Vec<&Curve>) =
        run.evaluation.curves.iter().partition(|curve| curve.parameters.norm() == Norm::L2);
    let mut lines: Vec<Line> = main.into_iter().map(line).collect();
    let worst = curves::worst_case("worst case over all", &run.evaluation);
    lines.extend(worst.map(|line| Line { bold: true, ..line }));
    if !lines.is_empty() {
        let title = if let [line] = &lines[..] { &line.label } else { "Robustness" };
        charts.push(("robustness", curves::chart(title, lines.clone())));
    }
    if !others.is_empty() {
        let lines = others.into_iter().map(line).collect();
        charts.push(("robustness_l2", curves::chart("Robustness in l2 balls", lines)));
    }
    let examples = run.gallery.iter().flat_map(|gallery| &gallery.examples);
    let examples = examples.filter(|example| !example.landscape.is_empty());
    let landscapes: Vec<_> =
        examples.map(|example| (example.id.clone(), example.landscape.clone())).collect();
    if !landscapes.is_empty() {
        charts.push(("landscape", landscape(&landscapes)));
    }
    if !run.history.losses.is_empty() {
        let lines = vec![Line::over_steps("loss", &run.history.losses)];
        charts.push(("loss", Chart::new("Training loss", "step", "loss", lines)));
    }
    if run.history.validations.len() > 1 {
        let lines = vec![Line::over_steps("validation", &run.history.validations)];
        charts.push(("validation", Chart::new("Validation on clean images", "step", "mean IoU", lines)));
    }
    charts.extend(epsilons::histograms(&run.history.epsilons).map(|chart| ("epsilons", chart)));
    charts.extend(monitor::charts(&run.history.readings));
    charts
}

/// The cross-entropy of images along the attack's direction, each with its name.
fn landscape(examples: &[(String, Vec<(f64, f32)>)]) -> Chart {
    let line = |(label, values): &(String, Vec<(f64, f32)>)| {
        Line::through(label, values.iter().map(|&(times, loss)| (times, f64::from(loss))).collect())
    };
    let lines = examples.iter().map(line).collect();
    Chart::new("Loss along the attack's direction", "times the perturbation", "cross-entropy", lines)
}
