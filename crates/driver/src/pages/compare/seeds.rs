//! Mean and deviation of the scores of trainings that differ only in their seed.

use robustseg_evaluation::Evaluation;
use robustseg_metrics::mean_and_deviation;

use super::run::ComparedRun;
use crate::draw::table::{Cell, Table};
use crate::pages::names::{epsilon_in_words, title_of_curve};

/// Mean and standard deviation over the seeds of each setting that several of `runs` share: clean,
/// and at the largest epsilon of each curve and of the worst case. All `runs` have the same curves.
/// Without a shared setting the table has no rows.
pub(super) fn table(runs: &[ComparedRun]) -> Table {
    let curves = runs.first().map_or(&[][..], |run| &run.evaluation.curves);
    let largest: Vec<(String, usize)> = curves
        .iter()
        .filter_map(|curve| {
            let points = curve.points.iter().enumerate();
            let (place, point) = points.max_by(|a, b| a.1.epsilon.total_cmp(&b.1.epsilon))?;
            Some((format!("{} at {}", title_of_curve(curve), epsilon_in_words(point.epsilon)), place))
        })
        .collect();
    let worst =
        |run: &ComparedRun| run.evaluation.worst_case.last().map(|point| (point.epsilon, point.scores.miou));
    let worst_at = runs
        .first()
        .and_then(worst)
        .filter(|(epsilon, _)| runs.iter().all(|run| worst(run).is_some_and(|(other, _)| other == *epsilon)));
    let worst_name = worst_at.map(|(epsilon, _)| format!("worst case at {}", epsilon_in_words(epsilon)));
    let scores = std::iter::once("clean".to_owned()).chain(largest.iter().map(|(name, _)| name.clone()));
    let scores = scores.chain(worst_name);
    let scores = scores.flat_map(|name| [name, "deviation".to_owned()]);
    let columns = ["runs", "seeds"].map(str::to_owned).into_iter().chain(scores);
    let mut table = Table::new("Mean IoU over seeds", columns);
    for group in groups(runs).into_iter().filter(|group| group.len() > 1) {
        let of = |value: &dyn Fn(&ComparedRun) -> f64| -> [Cell; 2] {
            let values: Vec<f64> = group.iter().map(|run| value(run)).collect();
            let (mean, deviation) = mean_and_deviation(&values).unzip();
            [Cell::fraction(mean), Cell::number(deviation.flatten(), 4)]
        };
        let names: Vec<&str> = group.iter().map(|run| run.label.as_str()).collect();
        let mut row = vec![Cell::Text(names.join(", ")), Cell::Number(group.len() as f64, 0)];
        row.extend(of(&|run| run.evaluation.clean.miou));
        for (curve, (_, place)) in largest.iter().enumerate() {
            row.extend(of(&|run| run.evaluation.curves[curve].points[*place].scores.miou));
        }
        if worst_at.is_some() {
            row.extend(of(&|run| worst(run).map_or(0.0, |(_, miou)| miou)));
        }
        table.rows.push(row);
    }
    table.note = "Deviation: of the sample, over trainings that differ only in their seed.".into();
    table
}

/// The runs of each setting, in the order of their first runs. A run of unknown training is alone.
pub(super) fn groups(runs: &[ComparedRun]) -> Vec<Vec<&ComparedRun>> {
    let mut groups: Vec<(Option<Setting<'_>>, Vec<&ComparedRun>)> = Vec::new();
    for run in runs {
        let setting = setting(&run.evaluation);
        match groups.iter_mut().find(|(other, _)| setting.is_some() && *other == setting) {
            Some((_, group)) => group.push(run),
            None => groups.push((setting, vec![run])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The hash of everything that decides a training but its seed, and its steps. The best weights of
/// two seeds are seldom of the same step, so their steps are not compared.
pub(super) type Setting<'a> = (&'a str, Option<u64>);

/// The setting that trainings with different seeds share. `None` if the training is unknown.
pub(super) fn setting(evaluation: &Evaluation) -> Option<Setting<'_>> {
    let best = evaluation.scope.weights.as_deref() == Some("best");
    let training = evaluation.training.as_ref()?;
    Some((training.spec_sha256.as_str(), (!best).then_some(training.step)))
}
