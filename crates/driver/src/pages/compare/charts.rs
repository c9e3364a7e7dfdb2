//! The robustness curves of several runs.

use super::comparison::Comparison;
use super::run::ComparedRun;
use crate::draw::chart::{Chart, Line};
use crate::pages::curves;
use crate::pages::names::title_of_curve;

/// The title of the worst case.
pub(super) const WORST_CASE: &str = "worst case over all attacks";
/// The title of its chart.
const WORST_CASE_TITLE: &str = "Worst case over all attacks";
/// The name of the worst case in files.
pub(super) const WORST_CASE_FILE: &str = "worst_case";

impl Comparison {
    /// A chart for each attack and one for the worst case over all, by the names of their files
    /// without `.svg`.
    pub fn charts(&self) -> Vec<(String, Chart)> {
        let curves = self.runs.first().map_or(&[][..], |run| &run.evaluation.curves);
        let chart = |(index, name): (usize, String)| {
            let line = |run: &ComparedRun| curves::line(&run.label, &run.evaluation.curves[index]);
            let title = title_of_curve(&curves[index]);
            (name, curves::chart(&title, self.ranked().into_iter().map(line).collect()))
        };
        let mut charts: Vec<_> = self.curve_names().into_iter().enumerate().map(chart).collect();
        let worst =
            self.ranked().into_iter().filter_map(|run| curves::worst_case(&run.label, &run.evaluation));
        let worst: Vec<Line> = worst.collect();
        if !worst.is_empty() {
            charts.push((WORST_CASE_FILE.into(), curves::chart(WORST_CASE_TITLE, worst)));
        }
        charts
    }
}
