//! Robustness curves: mean IoU over epsilon.

use robustseg_evaluation::{Curve, Evaluation, Point};

use crate::draw::chart::{Chart, Line};

/// The chart of robustness curves.
pub(super) fn chart(title: &str, lines: Vec<Line>) -> Chart {
    Chart::new(title, "epsilon", "mean IoU", lines)
}

/// The mean IoU of `curve` over rising epsilon.
pub(super) fn line(label: &str, curve: &Curve) -> Line {
    through(label, &curve.points)
}

/// The mean IoU of the worst case over all curves of `evaluation`, from the clean score on. `None`
/// if the evaluation has no worst case.
pub(super) fn worst_case(label: &str, evaluation: &Evaluation) -> Option<Line> {
    if evaluation.worst_case.is_empty() {
        return None;
    }
    let scores = evaluation.clean.clone();
    let clean = Point { epsilon: 0.0, scores, candidates: Vec::new(), smallest: None };
    let points: Vec<Point> = std::iter::once(clean).chain(evaluation.worst_case.iter().cloned()).collect();
    Some(through(label, &points))
}

/// All epsilons above 0 of `curves`, rising.
pub(super) fn epsilons_of<'a>(curves: impl IntoIterator<Item = &'a [Point]>) -> Vec<f64> {
    let points = curves.into_iter().flatten().map(|point| point.epsilon);
    let mut epsilons: Vec<f64> = points.filter(|epsilon| *epsilon > 0.0).collect();
    epsilons.sort_by(f64::total_cmp);
    epsilons.dedup();
    epsilons
}

fn through(label: &str, curve: &[Point]) -> Line {
    let mut points: Vec<_> = curve.iter().map(|point| (point.epsilon, point.scores.miou)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let interval = |point: &Point| {
        let [low, high] = point.scores.miou_interval?;
        Some((point.epsilon, low, high))
    };
    let mut band: Vec<_> = curve.iter().filter_map(interval).collect();
    band.sort_by(|a, b| a.0.total_cmp(&b.0));
    Line { band, markers: true, ..Line::through(label, points) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::fixture;

    #[test]
    fn the_worst_case_begins_at_the_clean_score() {
        let mut evaluation = fixture::evaluation(0.7, 4.0);
        assert_eq!(worst_case("worst case", &evaluation), None);
        evaluation.worst_case = evaluation.curves[1].points[1..3].to_vec();
        let line = worst_case("worst case", &evaluation).unwrap();
        assert_eq!((line.points.len(), line.points[0]), (3, (0.0, 0.7)));
    }

    #[test]
    fn points_and_intervals_are_sorted_by_epsilon() {
        let mut curve = fixture::evaluation(0.7, 4.0).curves[0].clone();
        curve.points.reverse();
        curve.points[0].scores.miou_interval = Some([0.1, 0.95]);
        curve.points[1].scores.miou_interval = Some([0.2, 0.9]);
        let line = line("x", &curve);
        assert!(line.points.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(line.band[7..], [(0.035, 0.2, 0.9), (0.04, 0.1, 0.95)]);
        assert_eq!(chart("", vec![line.clone()]).lines, [line]);
    }
}
