//! The tables of one run's scores, a row for each point of a curve.

use robustseg_evaluation::{Curve, METRICS, Point, Scores, Smallest};

use super::robustness::WORST_CASE;
use crate::draw::table::{Cell, Table};
use crate::pages::names::title_of_curve;
use crate::pages::summary::RunSummary;

/// The clean scores, all points of the curves, and the worst case over them.
pub(super) fn points(run: &RunSummary) -> Table {
    let names = ["attack", "epsilon", "mean IoU", "95 % from", "to", "pixel accuracy"];
    let names = names.into_iter().chain(METRICS.iter().map(|metric| metric.title));
    let mut table = Table::new("Scores", names);
    let mut row = |title: &str, epsilon: Cell, scores: &Scores| {
        let end = |index: usize| Cell::fraction(scores.miou_interval.map(|interval| interval[index]));
        let plain = |cell: Cell| match cell {
            Cell::Fraction(value) => Cell::Number(value, 4),
            other => other,
        };
        let numbers = [
            Cell::Fraction(scores.miou),
            plain(end(0)),
            plain(end(1)),
            Cell::Fraction(scores.pixel_accuracy),
        ];
        let metrics = METRICS.iter().map(|metric| Cell::fraction(scores.metrics.get(metric.key)));
        table.rows.push([Cell::text(title), epsilon].into_iter().chain(numbers).chain(metrics).collect());
    };
    row("none", Cell::Missing, &run.evaluation.clean);
    for curve in &run.evaluation.curves {
        let title = title_of_curve(curve);
        for point in &curve.points {
            row(&title, Cell::Number(point.epsilon, 3), &point.scores);
        }
    }
    for point in &run.evaluation.worst_case {
        row(WORST_CASE, Cell::Number(point.epsilon, 3), &point.scores);
    }
    table.note = "Mean IoU and pixel accuracy are of the whole dataset, from one confusion matrix; the image-averaged ones are \
                  other numbers. SEA's authors report the image-averaged accuracy (their aAcc). \
                  Intervals hold 95 % of bootstrap samples of the images: how far off other images might be, not other \
                  trainings."
        .into();
    if !run.evaluation.worst_case.is_empty() {
        table.note += " The worst case takes of each image the example that lowers a score most, out of those of all attacks at \
                       epsilons up to its own and the clean image.";
    }
    if run.evaluation.scope.object_edges.is_some() {
        table.note += " Small, medium and large objects are the thirds of each class's connected components by area; in a \
                       worst case they are seen in the examples that lower the mean IoU most.";
    }
    table
}

/// The scores of each candidate of a worst case alone.
pub(super) fn candidates(run: &RunSummary) -> Table {
    let mut table = Table::new(
        "Candidates of the worst cases",
        ["attack", "example", "epsilon", "mean IoU", "pixel accuracy"],
    );
    for curve in &run.evaluation.curves {
        let title = title_of_curve(curve);
        for Point { epsilon, candidates, .. } in &curve.points {
            table.rows.extend(candidates.iter().map(|candidate| {
                let name = Cell::text(candidate.name.replace('_', " "));
                let scores = [candidate.miou, candidate.pixel_accuracy].map(Cell::Fraction);
                [Cell::text(title.clone()), name, Cell::Number(*epsilon, 3)]
                    .into_iter()
                    .chain(scores)
                    .collect()
            }));
        }
    }
    table
}

/// How small the perturbations are that get a share of the pixels wrong.
pub(super) fn smallest(run: &RunSummary) -> Table {
    let names = ["attack", "limit", "pixels to get wrong", "images in which they are", "median change"];
    let mut table = Table::new("Smallest perturbations", names);
    for curve in &run.evaluation.curves {
        let title = title_of_curve(curve);
        table.rows.extend(curve.points.iter().filter_map(|point| {
            let Smallest { wrong, succeeded, median } = point.smallest?;
            let shares = [wrong, succeeded].map(|share| Cell::Percent(100.0 * share));
            let limit = [Cell::text(title.clone()), Cell::Number(point.epsilon, 3)];
            Some(limit.into_iter().chain(shares).chain([Cell::number(median, 4)]).collect())
        }));
    }
    table.note = "The median is over all images with labelled pixels, of the largest change of a channel. An image in which \
                  the attack fails counts as infinite, and so does the median where it fails in most."
        .into();
    table
}

/// The cost of the attacks.
pub(super) fn passes(run: &RunSummary) -> Table {
    let names = ["attack", "epsilons", "forward passes per image", "backward passes per image"];
    let mut table = Table::new("Cost of the attacks", names);
    let above_zero = |curve: &Curve| curve.points.iter().filter(|point| point.epsilon > 0.0).count() as f64;
    table.rows.extend(run.evaluation.curves.iter().filter_map(|curve| {
        let passes = curve.passes?;
        let numbers = [(above_zero(curve), 0), (passes.forward, 1), (passes.backward, 1)];
        let title = Cell::Text(title_of_curve(curve));
        Some(
            std::iter::once(title)
                .chain(numbers.map(|(value, decimals)| Cell::Number(value, decimals)))
                .collect(),
        )
    }));
    table.note =
        "The cost of all epsilons above 0 together. Epsilons that share a path pay for it once.".into();
    table
}
