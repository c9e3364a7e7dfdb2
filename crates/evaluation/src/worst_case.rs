//! The worst case over all curves of an evaluation, as epsilon grows.

use crate::Result;
use crate::observation::Observation;
use crate::record::Point;
use crate::scores::{Chosen, scores_after};

/// The observations at one point of a curve: its epsilon, and all examples of each image.
pub(crate) type Seen<'a> = (f64, Vec<Vec<&'a Observation>>);

/// The worst case over `points`, at each of their epsilons above 0 in rising order. `clean` holds
/// the images without an attack.
///
/// A ball contains all smaller ones, so the candidates at an epsilon are the clean image and the
/// examples of all epsilons up to it. No score rises with epsilon or above the clean score, except
/// those of single classes.
///
/// Every attack must keep its examples inside the ball of its epsilon. All registered attacks do.
pub(crate) fn worst_case<'a>(clean: &[&'a Observation], mut points: Vec<Seen<'a>>) -> Result<Vec<Point>> {
    points.retain(|(epsilon, _)| *epsilon > 0.0);
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut candidates: Vec<Vec<&Observation>> = clean.iter().map(|&observation| vec![observation]).collect();
    let mut chosen: Option<Chosen> = None;
    let mut found = Vec::new();
    for group in points.chunk_by(|a, b| a.0 == b.0) {
        for (_, seen) in group {
            for (candidates, seen) in candidates.iter_mut().zip(seen) {
                candidates.extend(seen);
            }
        }
        let (scores, worst) = scores_after(&candidates, chosen.as_ref())?;
        chosen = Some(worst);
        found.push(Point { epsilon: group[0].0, scores, candidates: Vec::new(), smallest: None });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Scores;
    use crate::scores::scores;
    use proptest::prelude::*;
    use robustseg_metrics::{ConfusionMatrix, Objects, boundary_overlap};

    const CLASSES: usize = 3;
    const PIXELS: usize = 6;
    const EPSILONS: [f64; 3] = [0.01, 0.02, 0.03];

    /// The observation of an image of two rows with this prediction and label.
    fn observe(prediction: &[u8], label: &[u8]) -> Observation {
        let mut matrix = ConfusionMatrix::new(CLASSES);
        matrix.update(prediction, label).unwrap();
        Observation {
            pairs: matrix.pairs(),
            overlap: matrix.overlap(),
            boundary: boundary_overlap(prediction, label, PIXELS / 2, CLASSES, 1).unwrap(),
            objects: Objects::of(prediction, label, PIXELS / 2, CLASSES).unwrap(),
            loss: 1.0,
            largest: 0.0,
            unmoved: 0.0,
        }
    }

    /// A clean image and two attacks on it at each epsilon.
    type Image = (Observation, Vec<[Observation; 2]>);

    fn images() -> impl Strategy<Value = Vec<Image>> {
        let map = || prop::array::uniform6(0_u8..CLASSES as u8);
        let attacked = prop::collection::vec([map(), map()], EPSILONS.len());
        let image = (map(), map(), attacked).prop_map(|(label, clean, attacked)| {
            let attacked = attacked.iter().map(|maps| [0, 1].map(|attack| observe(&maps[attack], &label)));
            (observe(&clean, &label), attacked.collect())
        });
        prop::collection::vec(image, 1..7)
    }

    /// All scores that must not rise.
    fn falling(scores: &Scores) -> [f64; 4] {
        let metric = |key| scores.metrics.get(key).unwrap();
        [scores.miou, scores.pixel_accuracy, metric("image_averaged_miou"), metric("boundary_miou")]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_score_rises_with_epsilon_or_above_an_attack_within_the_ball(images in images()) {
            let clean: Vec<&Observation> = images.iter().map(|(clean, _)| clean).collect();
            let seen = |attack: usize, point: usize| -> Vec<Vec<&Observation>> {
                images.iter().map(|(_, attacked)| vec![&attacked[point][attack]]).collect()
            };
            // The larger ball comes first, and one attack lacks an epsilon.
            let points = (0..EPSILONS.len()).rev().flat_map(|point| {
                let attacks = if point == 1 { 0..1 } else { 0..2 };
                attacks.map(move |attack| (EPSILONS[point], attack, point))
            });
            let points: Vec<_> = points.collect();
            let all = points.iter().map(|&(epsilon, attack, point)| (epsilon, seen(attack, point))).collect();
            let found = worst_case(&clean, all).unwrap();
            prop_assert_eq!(found.iter().map(|point| point.epsilon).collect::<Vec<_>>(), EPSILONS);
            let mut previous = falling(&scores(&clean.iter().map(|&observation| vec![observation]).collect::<Vec<_>>()).unwrap());
            for Point { epsilon, scores: worst, .. } in &found {
                let worst = falling(worst);
                prop_assert!(worst.iter().zip(&previous).all(|(now, previous)| now <= previous), "{:?} after {:?}", worst, previous);
                for &(_, attack, point) in points.iter().filter(|(other, ..)| other <= epsilon) {
                    let alone = falling(&scores(&seen(attack, point)).unwrap());
                    prop_assert!(worst.iter().zip(&alone).all(|(worst, alone)| worst <= alone), "{:?} above {:?}", worst, alone);
                }
                previous = worst;
            }
        }
    }

    #[test]
    fn an_epsilon_that_one_attack_alone_has_takes_the_candidates_of_smaller_ones() {
        let label = [0, 0, 1, 1, 2, 2];
        let (right, wrong) = (observe(&label, &label), observe(&[1, 1, 2, 2, 0, 0], &label));
        let found = worst_case(
            &[&right],
            vec![(0.02, vec![vec![&right]]), (0.01, vec![vec![&wrong]]), (0.0, vec![vec![&right]])],
        );
        let found = found.unwrap();
        let scores: Vec<(f64, f64)> = found.iter().map(|point| (point.epsilon, point.scores.miou)).collect();
        assert_eq!(scores, [(0.01, 0.0), (0.02, 0.0)]);
    }
}
