//! Boundary IoU: Cheng, Girshick, Dollar, Berg, Kirillov, *Boundary IoU: Improving Object-Centric
//! Image Segmentation Evaluation*, CVPR 2021.

use crate::confusion::check;
use crate::{Error, IGNORE_LABEL, Overlap};

/// The paper's distance for an image of `width` x `height` pixels: 2 % of the diagonal, at least 1.
pub fn boundary_distance(width: usize, height: usize) -> usize {
    let diagonal = ((width * width + height * height) as f64).sqrt();
    ((0.02 * diagonal).round() as usize).max(1)
}

/// Intersection and union of the classes' boundary regions in label and prediction, both in rows of
/// `width` pixels. The region of a class consists of its pixels within `distance` of a pixel of
/// another class or of the image's border. The distance counts steps to any of the eight
/// neighbours, like erosion by a 3x3 square. The cost is a few passes over the image, whatever the
/// distance.
///
/// Pixels without a label belong to no class, in the prediction as in the label, and do not count.
/// A perfect prediction therefore scores 1 next to them. The authors' program differs here.
/// `mask_to_boundary` of `boundary-iou-api` erodes the prediction unchanged. The prediction
/// continues into the unlabelled region and has no boundary there, while the class in the label
/// ends and has one. Their boundary IoU of a perfect prediction is below 1, and scores differ from
/// ours wherever an image has unlabelled pixels.
///
/// # Errors
/// The errors of [`ConfusionMatrix::update`](crate::ConfusionMatrix::update).
///
/// # Panics
/// If the pixels do not fill rows of `width`.
pub fn boundary_overlap(
    prediction: &[u8],
    label: &[u8],
    width: usize,
    num_classes: usize,
    distance: usize,
) -> Result<Overlap, Error> {
    check(prediction, label, num_classes)?;
    assert!(width > 0 && label.len().is_multiple_of(width), "rows of {width} pixels");
    let unlabelled_too =
        |(&predicted, &truth): (&u8, &u8)| if truth == IGNORE_LABEL { truth } else { predicted };
    let prediction: Vec<u8> = prediction.iter().zip(label).map(unlabelled_too).collect();
    let (inner_prediction, inner_label) =
        (inside(&prediction, width, distance), inside(label, width, distance));
    let (mut intersection, mut union) = (vec![0; num_classes], vec![0; num_classes]);
    for pixel in (0..label.len()).filter(|&pixel| label[pixel] != IGNORE_LABEL) {
        let of = |map: &[u8], inner: &[bool]| (!inner[pixel]).then_some(usize::from(map[pixel]));
        match (of(&prediction, &inner_prediction), of(label, &inner_label)) {
            (Some(predicted), Some(truth)) if predicted == truth => {
                intersection[truth] += 1;
                union[truth] += 1;
            }
            (predicted, truth) => predicted.into_iter().chain(truth).for_each(|class| union[class] += 1),
        }
    }
    Ok(Overlap::of(intersection, union))
}

/// For each pixel, whether the square within `distance` of it lies in the image and has a single
/// value. Rows are checked first, then columns of the results.
fn inside(map: &[u8], width: usize, distance: usize) -> Vec<bool> {
    let height = map.len() / width;
    let mut row_wise = vec![false; map.len()];
    for y in 0..height {
        let row = &map[y * width..(y + 1) * width];
        let mut run = 0;
        for x in 0..width {
            run = if x > 0 && row[x] == row[x - 1] { run + 1 } else { 1 };
            if run > 2 * distance {
                row_wise[y * width + x - distance] = true;
            }
        }
    }
    let mut inside = vec![false; map.len()];
    for x in 0..width {
        let mut run = 0;
        for y in 0..height {
            let at = y * width + x;
            run = match row_wise[at] {
                false => 0,
                true if run > 0 && map[at] == map[at - width] => run + 1,
                true => 1,
            };
            if run > 2 * distance {
                inside[at - distance * width] = true;
            }
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A direct implementation that visits every pixel of the square.
    fn inside_slowly(map: &[u8], width: usize, distance: usize) -> Vec<bool> {
        let (w, h, d) = (width as isize, (map.len() / width) as isize, distance as isize);
        let value = |x: isize, y: isize| {
            ((0..w).contains(&x) && (0..h).contains(&y)).then(|| map[(y * w + x) as usize])
        };
        let is_inside =
            |x: isize, y: isize| (-d..=d).all(|dy| (-d..=d).all(|dx| value(x + dx, y + dy) == value(x, y)));
        (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).map(|(x, y)| is_inside(x, y)).collect()
    }

    proptest! {
        #[test]
        fn runs_find_what_the_definition_says(
            width in 1_usize..14, height in 1_usize..14, distance in 1_usize..4, spots in prop::collection::vec((0_usize..200, 0_u8..3), 0..5),
        ) {
            let mut map = vec![0; width * height];
            for (place, value) in spots {
                let place = place % map.len();
                map[place] = value;
            }
            prop_assert_eq!(inside(&map, width, distance), inside_slowly(&map, width, distance));
        }

        #[test]
        fn a_perfect_prediction_scores_one_whatever_is_unlabelled(
            width in 1_usize..14, height in 1_usize..14, distance in 1_usize..4,
            truth in prop::collection::vec(0_u8..4, 4), unlabelled in prop::collection::vec((0_usize..14, 0_usize..14, 1_usize..6), 0..4),
        ) {
            // Four areas with a class each. Some squares have no label, but the prediction is right
            // there too.
            let area = |i: usize| truth[2 * usize::from(i % width * 2 < width) + usize::from(i / width * 2 < height)];
            let covered = |i: usize| unlabelled.iter().any(|&(x, y, side)| {
                (x..x + side).contains(&(i % width)) && (y..y + side).contains(&(i / width))
            });
            let prediction: Vec<u8> = (0..width * height).map(area).collect();
            let label: Vec<u8> = (0..width * height).map(|i| if covered(i) { IGNORE_LABEL } else { area(i) }).collect();
            let overlap = boundary_overlap(&prediction, &label, width, 4, distance).unwrap();
            prop_assert_eq!(overlap.intersection(), overlap.union());
            let labelled = label.iter().any(|&value| value != IGNORE_LABEL);
            prop_assert_eq!(overlap.mean_iou(), labelled.then_some(1.0));
            // Predictions without a label do not matter.
            let elsewhere: Vec<u8> =
                prediction.iter().zip(&label).map(|(&p, &l)| if l == IGNORE_LABEL { 3 - p } else { p }).collect();
            prop_assert_eq!(boundary_overlap(&elsewhere, &label, width, 4, distance).unwrap(), overlap);
        }
    }

    #[test]
    fn a_square_that_is_shifted_keeps_its_area_and_loses_its_boundary() {
        let square = |left: usize| -> Vec<u8> {
            (0..40 * 40)
                .map(|i| u8::from((10..30).contains(&(i / 40)) && (left..left + 20).contains(&(i % 40))))
                .collect()
        };
        let (label, prediction) = (square(10), square(12));
        let boundary = boundary_overlap(&prediction, &label, 40, 2, 1).unwrap();
        // Bands of one pixel: 76 each, with 18 in common at the top and at the bottom.
        assert_eq!((boundary.intersection()[1], boundary.union()[1]), (2 * 18, 2 * 76 - 2 * 18));
        let mut matrix = crate::ConfusionMatrix::new(2);
        matrix.update(&prediction, &label).unwrap();
        assert!(matrix.iou()[1].unwrap() > 0.8 && boundary.iou()[1].unwrap() < 0.35);
        let same = boundary_overlap(&label, &label, 40, 2, 3).unwrap();
        assert_eq!(same.iou(), [Some(1.0), Some(1.0)]);
        assert_eq!(same.union()[1], 400 - 14 * 14);
    }

    #[test]
    fn unlabelled_pixels_bound_and_do_not_count() {
        let label = [0, 0, 0, IGNORE_LABEL, IGNORE_LABEL];
        let overlap = boundary_overlap(&[0, 0, 0, 1, 1], &label, 5, 2, 1).unwrap();
        assert_eq!((overlap.union(), overlap.intersection()), (&[3, 0][..], &[3, 0][..]));
        // Eight columns of one class, the last two unlabelled: the column next to them is a
        // boundary in both.
        let label: Vec<u8> = (0..8 * 8).map(|i| if i % 8 < 6 { 0 } else { IGNORE_LABEL }).collect();
        let perfect = boundary_overlap(&[0; 64], &label, 8, 1, 1).unwrap();
        assert_eq!((perfect.union(), perfect.intersection()), (&[24][..], &[24][..]));
        assert!(boundary_overlap(&[0, 0], &[0], 1, 2, 1).is_err());
        assert!(boundary_overlap(&[2], &[0], 1, 2, 1).is_err());
        assert_eq!((boundary_distance(480, 360), boundary_distance(9, 9)), (12, 1));
    }
}
