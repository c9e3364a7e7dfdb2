//! The robustness curves of several runs.

use robustseg_evaluation::{Evaluation, Point};

use super::comparison::Comparison;
use crate::draw::chart::{Chart, Line};
use crate::pages::curves;
use crate::pages::names::{epsilon_in_words, title_of_curve};

/// The title of the worst case.
pub(super) const WORST_CASE: &str = "worst case over all attacks";
/// The title of its chart.
const WORST_CASE_TITLE: &str = "Worst case over all attacks";
/// The name of the worst case in files.
pub(super) const WORST_CASE_FILE: &str = "worst_case";
/// The file of the chart of attacked over clean scores.
pub(super) const CLEAN_AND_ATTACKED_FILE: &str = "clean_and_attacked";

impl Comparison {
    /// A chart for each attack, one of attacked over clean scores, and one for the worst case over
    /// all attacks, by the names of their files without `.svg`. Runs that differ only in their seed
    /// are one line, their mean.
    pub fn charts(&self) -> Vec<(String, Chart)> {
        let series = self.series();
        let lines = |of: &dyn Fn(&Evaluation) -> Option<Line>| -> Vec<Line> {
            series.iter().filter_map(|series| series.line(of)).collect()
        };
        let curves = self.runs.first().map_or(&[][..], |run| &run.evaluation.curves);
        let chart = |(index, name): (usize, String)| {
            let lines = lines(&|evaluation| Some(curves::line("", &evaluation.curves[index])));
            (name, curves::chart(&title_of_curve(&curves[index]), lines))
        };
        let mut charts: Vec<_> = self.curve_names().into_iter().enumerate().map(chart).collect();
        if let Some(epsilon) = self.epsilon_of_most_attacks().filter(|_| series.len() > 1) {
            let of = |evaluation: &Evaluation| {
                let point = evaluation.worst_case.iter().find(|point| point.epsilon == epsilon)?;
                Some((evaluation.clean.miou, point.scores.miou))
            };
            let points = series.iter().filter_map(|series| series.point(of)).collect();
            let title = format!("Worst case at epsilon {} over clean score", epsilon_in_words(epsilon));
            let chart = Chart::new(title, "clean mean IoU", "mean IoU in the worst case", points);
            charts.push((CLEAN_AND_ATTACKED_FILE.into(), chart));
        }
        let worst = lines(&|evaluation| curves::worst_case("", evaluation));
        if !worst.is_empty() {
            charts.push((WORST_CASE_FILE.into(), curves::chart(WORST_CASE_TITLE, worst)));
        }
        charts
    }

    /// The epsilon of the worst case that the most attacks have, and of several the largest.
    fn epsilon_of_most_attacks(&self) -> Option<f64> {
        let evaluation = &self.runs.first()?.evaluation;
        let attacks = |epsilon: f64| {
            let has = |points: &[Point]| points.iter().any(|point| point.epsilon == epsilon);
            evaluation.curves.iter().filter(|curve| has(&curve.points)).count()
        };
        let epsilons = evaluation.worst_case.iter().map(|point| point.epsilon);
        epsilons.max_by(|a, b| attacks(*a).cmp(&attacks(*b)).then(a.total_cmp(b)))
    }
}
