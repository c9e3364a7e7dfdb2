//! The tables of several runs.

use robustseg_evaluation::{METRICS, Scores};

use super::charts::WORST_CASE;
use super::comparison::Comparison;
use super::run::ComparedRun;
use super::{differences, seeds};
use crate::draw::table::{Cell, Column, Table};
use crate::pages::curves::epsilons_of;
use crate::pages::names::{epsilon_column, title_of_curve};
use crate::pages::tables::scoped;
use crate::pages::warnings::SELECTED;

impl Comparison {
    /// All tables, with the names of their files: `ranking`, `scores`, `time`, `mean_iou_ATTACK`
    /// for each attack, `mean_iou_worst_case`, `classes`, `classes_worst_case`, `differences` of the
    /// specs, and `seeds` if some runs differ only in their seed. The most robust run comes first.
    pub fn tables(&self) -> Vec<(String, Table)> {
        let scope = self.scope();
        let mut tables = vec![("scores".into(), scoped(self.scores(), &scope)), ("time".into(), self.time())];
        let names = self.curve_names().into_iter().enumerate();
        tables.extend(
            names.map(|(index, name)| (format!("mean_iou_{name}"), scoped(self.mean_iou(index), &scope))),
        );
        tables.extend(self.worst_case().map(|table| ("mean_iou_worst_case".into(), scoped(table, &scope))));
        tables.insert(0, ("ranking".into(), scoped(self.ranking(), &scope)));
        for (name, table) in [("classes", self.classes()), ("classes_worst_case", self.attacked_classes())] {
            tables.push((name.into(), scoped(table, &scope)));
        }
        tables.push(("differences".into(), differences::table(&self.ranked())));
        tables.retain(|(_, table)| !table.rows.is_empty());
        let seeds = seeds::table(&self.runs);
        if !seeds.rows.is_empty() {
            tables.push(("seeds".into(), scoped(seeds, &scope)));
        }
        tables
    }

    /// All tables as text for a terminal.
    pub fn plain(&self) -> String {
        self.tables().iter().map(|(_, table)| table.plain()).collect::<Vec<_>>().join("\n")
    }

    fn scores(&self) -> Table {
        let columns = ["run", "method", "weights", "mean IoU", "95 % from", "to", "pixel accuracy"];
        let metrics = METRICS.iter().map(|metric| metric.title);
        let columns = columns.into_iter().chain(metrics).chain(["warnings"]);
        let mut table = Table::new("Clean scores", columns);
        table.rows.extend(self.ranked().into_iter().map(|run| {
            let clean = &run.evaluation.clean;
            let end = |index: usize| Cell::number(clean.miou_interval.map(|interval| interval[index]), 4);
            let warnings = run.evaluation.warnings.len() as f64;
            let weights = run.evaluation.scope.weights.clone();
            let scores = [
                weights.map_or(Cell::Missing, Cell::Text),
                Cell::Fraction(clean.miou),
                end(0),
                end(1),
                Cell::Fraction(clean.pixel_accuracy),
            ];
            let metrics = METRICS.iter().map(|metric| Cell::fraction(clean.metrics.get(metric.key)));
            let warnings = Cell::Number(warnings, 0);
            run.head().into_iter().chain(scores).chain(metrics).chain([warnings]).collect()
        }));
        if self.runs.iter().any(|run| !run.evaluation.warnings.is_empty()) {
            table.note =
                "Warnings give reason to distrust numbers under attack; the report of the run has them."
                    .into();
        }
        let selected = self.runs.iter().filter(|run| run.evaluation.scope.selected_on_evaluated_split);
        let selected: Vec<&str> = selected.map(|run| run.label.as_str()).collect();
        if !selected.is_empty() {
            let space = if table.note.is_empty() { "" } else { " " };
            table.note += &format!("{space}{}: {SELECTED}.", selected.join(", "));
        }
        table
    }

    /// IoU of each class on clean images, one run per column, the most robust one first.
    fn classes(&self) -> Table {
        self.by_class("Clean IoU of each class", |run| Some(&run.evaluation.clean))
    }

    /// The same in the worst case at the largest epsilon.
    fn attacked_classes(&self) -> Table {
        let title = "IoU of each class in the worst case at the largest epsilon";
        let mut table = self.by_class(title, |run| Some(&run.evaluation.worst_case.last()?.scores));
        if self.runs.iter().all(|run| run.evaluation.worst_case.is_empty()) {
            table.rows.clear();
        }
        table
    }

    fn by_class<'a>(&'a self, title: &str, scores: impl Fn(&'a ComparedRun) -> Option<&'a Scores>) -> Table {
        let runs = self.ranked();
        let names = runs.iter().map(|run| run.label.clone());
        let mut table = Table::new(title, std::iter::once("class".to_owned()).chain(names));
        table.rows.extend(self.class_names.iter().enumerate().map(|(label, name)| {
            let iou = runs.iter().map(|&run| scores(run)?.iou.get(label).copied().flatten());
            std::iter::once(Cell::Text(name.clone())).chain(iou.map(Cell::fraction)).collect()
        }));
        for row in 0..table.rows.len() {
            table.mark_best_of_row(row, |a, b| a > b);
        }
        table
    }

    /// Tables 1 and 2 of the paper.
    fn time(&self) -> Table {
        let columns = [
            "run",
            "method",
            "steps",
            "seconds per step",
            "images per second",
            "training s",
            "additional time",
            "device",
        ];
        let mut table = Table::new("Additional training time over Basic", columns);
        table.rows.extend(self.ranked().into_iter().map(|run| {
            let timing = run.timing.as_ref();
            let numbers = [
                Cell::number(timing.map(|timing| timing.training.steps as f64), 0),
                Cell::number(timing.map(|timing| timing.step_seconds), 4),
                Cell::number(timing.map(|timing| timing.images_per_second), 2),
                Cell::number(timing.map(|timing| timing.training_seconds), 1),
                Cell::percent(run.additional_time_percent),
                Cell::Text(timing.map_or_else(|| "n/a".into(), |timing| timing.device.clone())),
            ];
            run.head().into_iter().chain(numbers).collect()
        }));
        table.note = "Additional time: of an average step over one of the basic run, in percent".into();
        if self.runs.iter().any(|run| run.additional_time_percent.is_none()) {
            table.note +=
                "; n/a where there is no basic run on the same device with the same network and batches";
        }
        table
    }

    /// Mean IoU under curve `index`, one epsilon per column.
    fn mean_iou(&self, index: usize) -> Table {
        let first = &self.runs[0].evaluation.curves[index];
        let columns = first.points.iter().map(|point| epsilon_column(point.epsilon));
        let title = format!("Mean IoU under {}, by epsilon", title_of_curve(first));
        let mut table = Table::new(title, ["run", "method"].map(Column::from).into_iter().chain(columns));
        table.rows.extend(self.ranked().into_iter().map(|run| {
            let points = &run.evaluation.curves[index].points;
            run.head()
                .into_iter()
                .chain(points.iter().map(|point| Cell::Fraction(point.scores.miou)))
                .collect()
        }));
        let columns = table.columns.len();
        table.mark_best(self.runs.len(), 2..columns, |a, b| a > b);
        table
    }

    /// Mean IoU in the worst case over all attacks, one epsilon per column. `None` if no run has
    /// it.
    fn worst_case(&self) -> Option<Table> {
        let epsilons = epsilons_of(self.runs.iter().map(|run| &run.evaluation.worst_case[..]));
        if epsilons.is_empty() {
            return None;
        }
        let columns = epsilons.iter().copied().map(epsilon_column);
        let title = format!("Mean IoU in the {WORST_CASE}, by epsilon");
        let mut table = Table::new(title, ["run", "method"].map(Column::from).into_iter().chain(columns));
        table.rows.extend(self.ranked().into_iter().map(|run| {
            let at = |epsilon: &f64| {
                let mut points = run.evaluation.worst_case.iter();
                let point = points.find(|point| point.epsilon == *epsilon);
                Cell::fraction(point.map(|point| point.scores.miou))
            };
            run.head().into_iter().chain(epsilons.iter().map(at)).collect()
        }));
        table.mark_best(self.runs.len(), 2..epsilons.len() + 2, |a, b| a > b);
        table.note = "Of each image the worst example of all attacks at epsilons up to the column's.".into();
        Some(table)
    }
}
