//! The report's tables of scores by epsilon.

use robustseg_attacks::Norm;
use robustseg_evaluation::{Curve, METRICS, Point, Scores};

use crate::draw::table::{Cell, Column, Table};
use crate::pages::curves::epsilons_of;
use crate::pages::names::{epsilon_column, epsilon_in_words, title_of_curve};
use crate::pages::summary::RunSummary;

/// How the worst case is named.
pub(super) const WORST_CASE: &str = "worst case over all";

/// How to read the intervals.
const INTERVALS: &str = "Intervals hold 95 % of bootstrap samples of the images: how far off other images might be, not other \
                         trainings.";

/// A score of a table by epsilon.
pub(super) struct Score {
    title: &'static str,
    value: fn(&Scores) -> f64,
    interval: fn(&Scores) -> Option<[f64; 2]>,
}

pub(super) const MEAN_IOU: Score =
    Score { title: "Mean IoU", value: |scores| scores.miou, interval: |scores| scores.miou_interval };

pub(super) const PIXEL_ACCURACY: Score = Score {
    title: "Pixel accuracy",
    value: |scores| scores.pixel_accuracy,
    interval: |scores| scores.pixel_accuracy_interval,
};

/// `score` in balls of `norm`, a row for each attack and a column for each epsilon above 0. The
/// lowest scores of single attacks stand out. Without such attacks the table has no rows.
pub(super) fn by_epsilon(run: &RunSummary, score: &Score, norm: Norm) -> Table {
    let curves: Vec<&Curve> =
        run.evaluation.curves.iter().filter(|curve| curve.parameters.norm() == norm).collect();
    let worst: &[Point] = if norm == Norm::Linf { &run.evaluation.worst_case } else { &[] };
    let epsilons = epsilons_of(curves.iter().map(|curve| &curve.points[..]).chain([worst]));
    let balls = if norm == Norm::Linf { "" } else { " in l2 balls" };
    let clean = (score.value)(&run.evaluation.clean);
    let title = format!("{} by epsilon{balls}; {clean:.4} without an attack", score.title);
    let columns = epsilons.iter().copied().map(epsilon_column);
    let mut table = Table::new(title, [Column::from("attack")].into_iter().chain(columns));
    let cells = |points: &[Point], cell: &dyn Fn(&Scores) -> Cell| -> Vec<Cell> {
        let at = |epsilon: &f64| {
            let found = points.iter().find(|point| point.epsilon == *epsilon);
            found.map_or(Cell::Missing, |point| cell(&point.scores))
        };
        epsilons.iter().map(at).collect()
    };
    let fraction = |scores: &Scores| Cell::Fraction((score.value)(scores));
    let interval = |scores: &Scores| (score.interval)(scores).map_or(Cell::Missing, Cell::Interval);
    for curve in &curves {
        let title = Cell::Text(title_of_curve(curve));
        table.rows.push([vec![title], cells(&curve.points, &fraction)].concat());
    }
    // One attack at rising epsilons is its own worst case almost always, but its intervals remain.
    let (name, shown) = match (worst, &curves[..]) {
        ([], [one]) => ("", &one.points[..]),
        _ => (WORST_CASE, worst),
    };
    if !worst.is_empty() {
        table.rows.push([vec![Cell::text(WORST_CASE)], cells(worst, &fraction)].concat());
    }
    if shown.iter().any(|point| (score.interval)(&point.scores).is_some()) {
        let name = if name.is_empty() { "95 % interval".into() } else { format!("{name}, 95 % interval") };
        table.rows.push([vec![Cell::Text(name)], cells(shown, &interval)].concat());
        table.note = INTERVALS.into();
    }
    table.mark_best(curves.len(), 1..=epsilons.len(), |a, b| a < b);
    if !table.bold.is_empty() {
        table.note = format!("Bold: the attack that does most. {}", table.note).trim_end().into();
    }
    if !worst.is_empty() {
        table.note += " The worst case takes of each image the example that lowers a score most, out of those of all attacks at \
                       epsilons up to its own and the clean image.";
    }
    if epsilons.is_empty() {
        table.rows.clear();
    }
    table
}

/// The metrics beyond mean IoU and pixel accuracy, clean and at the largest epsilons.
pub(super) fn further(run: &RunSummary) -> Table {
    let columns = std::iter::once("attack").chain(METRICS.iter().map(|metric| metric.title));
    let mut table = Table::new("Further metrics", columns);
    let mut row = |name: String, scores: &Scores| {
        let values = METRICS.iter().map(|metric| scores.metrics.get(metric.key));
        if values.clone().any(|value| value.is_some()) {
            let values = values.map(Cell::fraction);
            table.rows.push(std::iter::once(Cell::Text(name)).chain(values).collect());
        }
    };
    row("none".into(), &run.evaluation.clean);
    let at = |name: &str, point: &Point| format!("{name} at {}", epsilon_in_words(point.epsilon));
    for curve in &run.evaluation.curves {
        let largest = curve.points.iter().max_by(|a, b| a.epsilon.total_cmp(&b.epsilon));
        if let Some(point) = largest {
            row(at(&title_of_curve(curve), point), &point.scores);
        }
    }
    if let Some(point) = run.evaluation.worst_case.last() {
        row(at(WORST_CASE, point), &point.scores);
    }
    table.note = "The image-averaged accuracy is the aAcc that SEA's authors report.".into();
    if run.evaluation.scope.object_edges.is_some() {
        table.note += " Small, medium and large objects are the thirds of each class's connected components by area; in a \
                       worst case they are seen in the examples that lower the mean IoU most.";
    }
    table
}
