//! The worst case over several attacks on each image: Croce, Singh, Hein, *Towards Reliable
//! Evaluation and Fast Training of Robust Semantic Segmentation Models*, ECCV 2024.

use crate::Overlap;

/// The index of the candidate with the lowest pixel accuracy; the first one among equals. Pixel
/// accuracy is a mean over pixels, so the worst case of a dataset is the worst case of each image.
///
/// # Panics
/// If there are no candidates.
pub fn lowest_accuracy(candidates: &[Overlap]) -> usize {
    let accuracy = |index: &usize| candidates[*index].pixel_accuracy().unwrap_or(1.0);
    let lowest = (0..candidates.len()).min_by(|a, b| accuracy(a).total_cmp(&accuracy(b)));
    lowest.expect("at least one candidate")
}

/// Chooses a candidate of each image such that the mean IoU of all `images` together is low.
///
/// Mean IoU does not split into images, so the search is greedy. It starts from one choice for all
/// images and visits image after image. For each it takes the candidate that lowers the mean IoU
/// most, until no change lowers it. One search starts from each single attack, and one from the
/// lowest accuracies; the lowest end wins. The result is never above the mean IoU of a single
/// attack, but it is not always the optimum. The cost per round is images times candidates times
/// classes.
///
/// # Panics
/// If images have different numbers of candidates, or none.
pub fn greedy_mean_iou(images: &[Vec<Overlap>]) -> Vec<usize> {
    let Some(first) = images.first() else { return Vec::new() };
    let lowest = images.iter().map(|candidates| lowest_accuracy(candidates)).collect();
    let single = (0..first.len()).map(|attack| vec![attack; images.len()]);
    greedy_mean_iou_from(images, single.chain([lowest]))
}

/// Like [`greedy_mean_iou`], but searches only from the given `starts`, each with a candidate's
/// index per image. The result is never above the mean IoU of a start. A search over more
/// candidates that starts from the result of a search over fewer cannot end higher.
///
/// # Panics
/// If images have different numbers of candidates, or there is no start.
pub fn greedy_mean_iou_from(
    images: &[Vec<Overlap>],
    starts: impl IntoIterator<Item = Vec<usize>>,
) -> Vec<usize> {
    let Some(first) = images.first() else { return Vec::new() };
    let same = images.iter().all(|candidates| candidates.len() == first.len());
    assert!(same, "as many candidates of every image");
    let ends = starts.into_iter().map(|start| descend(images, start));
    let end = ends.min_by(|(_, a), (_, b)| a.total_cmp(b));
    end.expect("at least one start").0
}

/// Improves the choices `chosen` until no single change lowers the mean IoU. Returns them and their
/// mean IoU.
fn descend(images: &[Vec<Overlap>], mut chosen: Vec<usize>) -> (Vec<usize>, f64) {
    let classes = images[0][0].union().len();
    let taken = images.iter().zip(&chosen).map(|(candidates, &index)| &candidates[index]);
    let mut sum = Overlap::sum(classes, taken);
    let mean = |sum: &Overlap| sum.mean_iou().unwrap_or(0.0);
    let mut value = mean(&sum);
    let mut changed = true;
    while changed {
        changed = false;
        for (candidates, chosen) in images.iter().zip(&mut chosen) {
            let mut rest = sum.clone();
            rest.subtract(&candidates[*chosen]);
            for (index, candidate) in candidates.iter().enumerate() {
                let mut with = rest.clone();
                with.add(candidate);
                let found = mean(&with);
                if found < value {
                    (sum, value, *chosen, changed) = (with, found, index, true);
                }
            }
        }
    }
    (chosen, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfusionMatrix;
    use proptest::prelude::*;

    /// Predictions of three attacks for up to six images of four pixels in three classes.
    fn scenes() -> impl Strategy<Value = Vec<Vec<Overlap>>> {
        let image = (prop::array::uniform4(0_u8..3), prop::array::uniform3(prop::array::uniform4(0_u8..3)));
        let overlaps = |(label, predictions): ([u8; 4], [[u8; 4]; 3])| -> Vec<Overlap> {
            let overlap = |prediction: &[u8; 4]| {
                let mut matrix = ConfusionMatrix::new(3);
                matrix.update(prediction, &label).unwrap();
                matrix.overlap()
            };
            predictions.iter().map(overlap).collect()
        };
        prop::collection::vec(image.prop_map(overlaps), 1..6)
    }

    fn mean_iou(images: &[Vec<Overlap>], chosen: &[usize]) -> f64 {
        let taken = images.iter().zip(chosen).map(|(candidates, &index)| &candidates[index]);
        Overlap::sum(3, taken).mean_iou().unwrap()
    }

    proptest! {
        #[test]
        fn no_single_attack_and_no_single_change_is_lower(images in scenes()) {
            let chosen = greedy_mean_iou(&images);
            let value = mean_iou(&images, &chosen);
            for attack in 0..3 {
                prop_assert!(value <= mean_iou(&images, &vec![attack; images.len()]));
                for image in 0..images.len() {
                    let mut other = chosen.clone();
                    other[image] = attack;
                    prop_assert!(value <= mean_iou(&images, &other));
                }
            }
            // Nor does the greedy choice fall below the bound set by the best of all choices.
            let all = 3_usize.pow(images.len() as u32);
            let choice = |number: usize| (0..images.len()).map(|i| number / 3_usize.pow(i as u32) % 3).collect::<Vec<_>>();
            let least = (0..all).map(|number| mean_iou(&images, &choice(number))).fold(1.0, f64::min);
            prop_assert!(value >= least);
        }

        #[test]
        fn more_candidates_never_raise_what_fewer_ended_with(images in scenes()) {
            let fewer: Vec<Vec<Overlap>> = images.iter().map(|candidates| candidates[..2].to_vec()).collect();
            let former = greedy_mean_iou(&fewer);
            let chosen = greedy_mean_iou_from(&images, [former.clone(), vec![2; images.len()]]);
            let value = mean_iou(&images, &chosen);
            prop_assert!(value <= mean_iou(&fewer, &former));
            prop_assert!((0..3).all(|attack| value <= mean_iou(&images, &vec![attack; images.len()])));
        }

        #[test]
        fn the_lowest_accuracy_is_the_datasets_too(images in scenes()) {
            let chosen: Vec<usize> = images.iter().map(|candidates| lowest_accuracy(candidates)).collect();
            let accuracy = |chosen: &[usize]| {
                let taken = images.iter().zip(chosen).map(|(candidates, &index)| &candidates[index]);
                Overlap::sum(3, taken).pixel_accuracy().unwrap()
            };
            for attack in 0..3 {
                prop_assert!(accuracy(&chosen) <= accuracy(&vec![attack; images.len()]));
            }
        }
    }

    #[test]
    fn the_worst_mean_iou_need_not_be_of_the_worst_accuracies() {
        // 90 pixels of class 0 and 10 of class 1. The first attack takes 20 pixels of the large
        // class, the second all of the small one.
        let matrix = |pairs: &[(u8, u8, usize)]| {
            let mut matrix = ConfusionMatrix::new(2);
            for &(label, prediction, count) in pairs {
                matrix.update(&vec![prediction; count], &vec![label; count]).unwrap();
            }
            matrix.overlap()
        };
        let candidates =
            vec![matrix(&[(0, 0, 70), (0, 1, 20), (1, 1, 10)]), matrix(&[(0, 0, 90), (1, 0, 10)])];
        assert_eq!(lowest_accuracy(&candidates), 0);
        assert_eq!(greedy_mean_iou(&[candidates]), [1]);
        assert!(greedy_mean_iou(&[]).is_empty());
    }
}
