//! Which run is the most robust one.

use super::comparison::Comparison;
use super::run::ComparedRun;
use crate::draw::table::{Cell, Column, Table};
use crate::pages::names::epsilon_in_words;

impl Comparison {
    /// The runs, the most robust one first: by the lowest mean IoU under attack, which is the worst
    /// case over all attacks where there is one, and then by the clean mean IoU.
    pub fn ranked(&self) -> Vec<&ComparedRun> {
        let mut runs: Vec<&ComparedRun> = self.runs.iter().collect();
        runs.sort_by(|a, b| {
            let [a, b] = [a, b].map(|run| (run.lowest(), run.evaluation.clean.miou));
            b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        runs
    }

    /// The sentence that a reader takes away.
    pub fn message(&self) -> String {
        let ranked = self.ranked();
        let Some(best) = ranked.first() else { return String::new() };
        let clean = format!("{:.3} clean", best.evaluation.clean.miou);
        let epsilon = best.epsilon().map(epsilon_in_words);
        let scores = match epsilon {
            Some(epsilon) => {
                format!("mean IoU {:.3} in the worst case at epsilon {epsilon}, {clean}", best.lowest())
            }
            None => format!("mean IoU {clean}"),
        };
        match ranked.len() {
            1 => format!("{}: {scores}", best.label),
            runs => format!("{} is the most robust of {runs} runs: {scores}", best.label),
        }
    }

    /// The runs in their order, with the scores that decide it.
    pub(super) fn ranking(&self) -> Table {
        let ranked = self.ranked();
        let detail = ranked.first().and_then(|run| run.epsilon()).map(epsilon_in_words);
        let worst = Column {
            name: "worst mean IoU".into(),
            detail: detail.map_or(String::new(), |epsilon| format!("at epsilon {epsilon}")),
        };
        let columns = ["rank", "run"].map(Column::from).into_iter().chain([worst]);
        let columns = columns
            .chain(["95 % interval", "clean mean IoU", "clean pixel accuracy", "method"].map(Column::from));
        let mut table = Table::new("Runs, the most robust first", columns);
        table.rows.extend(ranked.iter().enumerate().map(|(place, run)| {
            let interval = run.evaluation.worst_case.last().and_then(|point| point.scores.miou_interval);
            let clean = &run.evaluation.clean;
            let scores = [
                Cell::Fraction(run.lowest()),
                interval.map_or(Cell::Missing, Cell::Interval),
                Cell::Fraction(clean.miou),
                Cell::Fraction(clean.pixel_accuracy),
            ];
            let rank = Cell::Number((place + 1) as f64, 0);
            let [name, method] = run.head();
            [rank, name].into_iter().chain(scores).chain([method]).collect()
        }));
        table.mark_best(ranked.len(), [2, 4, 5], |a, b| a > b);
        if !self.beginning.is_empty() {
            table.note = format!("The names begin with {}.", self.beginning.trim_end_matches([',', ' ']));
        }
        table
    }
}

impl ComparedRun {
    /// The lowest mean IoU under attack, or the clean one without an attack.
    pub(super) fn lowest(&self) -> f64 {
        let worst = self.evaluation.worst_case.last().map(|point| point.scores.miou);
        let points = self.evaluation.curves.iter().flat_map(|curve| &curve.points);
        let attacked = points.filter(|point| point.epsilon > 0.0).map(|point| point.scores.miou);
        worst.or_else(|| attacked.reduce(f64::min)).unwrap_or(self.evaluation.clean.miou)
    }

    /// The epsilon of [`ComparedRun::lowest`]. `None` without an attack.
    pub(super) fn epsilon(&self) -> Option<f64> {
        let points = self.evaluation.curves.iter().flat_map(|curve| &curve.points);
        let lowest =
            points.filter(|point| point.epsilon > 0.0).min_by(|a, b| a.scores.miou.total_cmp(&b.scores.miou));
        self.evaluation.worst_case.last().or(lowest).map(|point| point.epsilon)
    }
}
