//! Histograms of the epsilons of adversarial training examples.

use crate::draw::chart::{Chart, Line};

/// Parts of the training, of equal length, with a histogram each.
const PARTS: u64 = 4;

/// Bins of a histogram.
const BINS: usize = 24;

/// The share of all examples below the first bin, and above the last one. They count as examples of
/// that bin, so that a few outliers do not stretch the axis.
const TAIL: f64 = 0.01;

/// The outlines of the histograms of `epsilons`, which are ordered by step. `None` if all epsilons
/// are equal, which is so with most methods.
pub(super) fn histograms(epsilons: &[(u64, Vec<f64>)]) -> Option<Chart> {
    let mut all: Vec<f64> = epsilons.iter().flat_map(|(_, epsilons)| epsilons).copied().collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get((share * all.len().saturating_sub(1) as f64).round() as usize).copied();
    let (low, high) = (at(TAIL)?, at(1.0 - TAIL)?);
    if low >= high {
        return None;
    }
    let width = (high - low) / BINS as f64;
    let end = epsilons.last().map_or(0, |(step, _)| step + 1);
    let outline = |part: u64| {
        let steps = part * end / PARTS..(part + 1) * end / PARTS;
        let values = epsilons.iter().filter(|(step, _)| steps.contains(step)).flat_map(|(_, values)| values);
        let mut counts = [0_u32; BINS];
        for value in values {
            counts[(((value - low) / width).max(0.0) as usize).min(BINS - 1)] += 1;
        }
        let total: u32 = counts.iter().sum();
        let bar = |(bin, count): (usize, &u32)| {
            let (left, share) = (low + bin as f64 * width, f64::from(*count) / f64::from(total));
            [(left, share), (left + width, share)]
        };
        let bars = counts.iter().enumerate().flat_map(bar);
        let points = std::iter::once((low, 0.0)).chain(bars).chain([(high, 0.0)]).collect();
        let label = format!("steps {} to {}", steps.start, steps.end.saturating_sub(1));
        (total > 0).then(|| Line::through(label, points))
    };
    let lines = (0..PARTS).filter_map(outline).collect();
    Some(Chart::new("Epsilon of the adversarial examples", "epsilon", "share of the examples", lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_training_has_a_histogram_of_all_its_examples() {
        // 200 examples per step from 0 to 0.199, twice as large in the second half, and an outlier.
        let step = |step: u64| {
            let factor = if step < 4 { 1.0 } else { 2.0 };
            (step, (0..200).map(|value| factor * f64::from(value) / 1000.0).collect::<Vec<_>>())
        };
        let mut epsilons: Vec<_> = (0..8).map(step).collect();
        epsilons[0].1[7] = -9.0;
        let chart = histograms(&epsilons).unwrap();
        let labels: Vec<_> = chart.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["steps 0 to 1", "steps 2 to 3", "steps 4 to 5", "steps 6 to 7"]);
        for (part, line) in chart.lines.iter().enumerate() {
            let bars: Vec<_> = line.points[1..line.points.len() - 1].chunks(2).collect();
            assert_eq!(bars.len(), BINS);
            assert!(line.points.is_sorted_by(|a, b| a.0 <= b.0));
            let shares = bars.iter().map(|bar| bar[0].1).sum::<f64>();
            assert!((shares - 1.0).abs() < 1e-9, "{shares}");
            let mean: f64 = bars.iter().map(|bar| bar[0].1 * (bar[0].0 + bar[1].0) / 2.0).sum();
            let expected = if part < 2 { 0.0995 } else { 0.199 };
            assert!((mean - expected).abs() < 0.01, "part {part}: {mean}");
        }
        // The outlier is in the first bin and does not stretch the axis.
        assert!(chart.lines[0].points[0].0 >= 0.0);
    }

    #[test]
    fn one_value_or_none_has_no_histogram() {
        assert_eq!(histograms(&[]), None);
        assert_eq!(histograms(&[(3, vec![])]), None);
        assert_eq!(histograms(&[(0, vec![0.03; 9]), (1, vec![0.03])]), None);
    }

    #[test]
    fn parts_without_an_example_are_left_out() {
        let chart = histograms(&[(0, vec![0.1, 0.2]), (7, vec![0.3])]).unwrap();
        assert_eq!(chart.lines.len(), 2);
    }
}
