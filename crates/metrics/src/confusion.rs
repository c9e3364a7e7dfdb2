//! Counts of (label, prediction) pairs over a dataset.

use crate::Overlap;

/// The value of unlabelled pixels in a label map. They do not count.
pub const IGNORE_LABEL: u8 = 255;

/// Why label maps cannot be counted. Nothing has been counted in that case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Prediction and label have different numbers of pixels.
    #[error("confusion matrix: {predictions} predicted pixels for {labels} labelled ones")]
    Length {
        /// Pixels of the prediction.
        predictions: usize,
        /// Pixels of the label map.
        labels: usize,
    },
    /// A class that the matrix does not have.
    #[error("confusion matrix: {what} {value} at pixel {pixel}, but there are {classes} classes")]
    Class {
        /// `label` or `prediction`.
        what: &'static str,
        /// The value found.
        value: u8,
        /// Index of the pixel.
        pixel: usize,
        /// Classes of the matrix.
        classes: usize,
    },
    /// Matrices of different numbers of classes cannot be merged.
    #[error("confusion matrix: cannot merge {other} classes into {classes}")]
    Classes {
        /// Classes of the matrix merged into.
        classes: usize,
        /// Classes of the other.
        other: usize,
    },
}

/// A confusion matrix: rows are labels, columns are predictions. Metrics come from one matrix over
/// the whole dataset, never from means over single images' metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// An empty matrix over `num_classes` classes.
    ///
    /// # Panics
    /// If there are more than 255 classes, because 255 means not labelled.
    pub fn new(num_classes: usize) -> Self {
        assert!(num_classes <= usize::from(IGNORE_LABEL), "at most 255 classes");
        Self { classes: num_classes, counts: vec![0; num_classes * num_classes] }
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.classes
    }

    /// Counts, row by row: the pixels with label `l` and prediction `p` are at `l * num_classes +
    /// p`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Counts the pixels of one or more images, except those labelled [`IGNORE_LABEL`].
    ///
    /// # Errors
    /// If the lengths differ, or a counted pixel has an invalid label or prediction. Nothing is
    /// counted then.
    pub fn update(&mut self, prediction: &[u8], label: &[u8]) -> Result<(), Error> {
        check(prediction, label, self.classes)?;
        for (&prediction, &label) in prediction.iter().zip(label).filter(|(_, label)| **label != IGNORE_LABEL)
        {
            self.counts[usize::from(label) * self.classes + usize::from(prediction)] += 1;
        }
        Ok(())
    }

    /// Adds the counts of another matrix, for example from another thread or process.
    ///
    /// # Errors
    /// If the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if self.classes != other.classes {
            return Err(Error::Classes { classes: self.classes, other: other.classes });
        }
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
        Ok(())
    }

    /// Intersection and union of each class.
    pub fn overlap(&self) -> Overlap {
        let (hits, unions) = self
            .sums()
            .map(|(class, labelled, predicted)| {
                let hit = self.hit(class);
                (hit, labelled + predicted - hit)
            })
            .unzip();
        Overlap::of(hits, unions)
    }

    /// Intersection over union of each class. `None` for a class that occurs neither as label nor
    /// as prediction.
    pub fn iou(&self) -> Vec<Option<f64>> {
        self.overlap().iou()
    }

    /// Mean IoU of classes that occur. `None` if nothing was counted.
    pub fn mean_iou(&self) -> Option<f64> {
        self.overlap().mean_iou()
    }

    /// Share of the counted pixels whose prediction is right. `None` if nothing was counted.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        self.overlap().pixel_accuracy()
    }

    /// Labelled and predicted pixels of each class.
    fn sums(&self) -> impl Iterator<Item = (usize, u64, u64)> {
        (0..self.classes).map(|class| {
            let labelled = self.counts[class * self.classes..][..self.classes].iter().sum();
            let predicted = self.counts.iter().skip(class).step_by(self.classes).sum();
            (class, labelled, predicted)
        })
    }

    fn hit(&self, class: usize) -> u64 {
        self.counts[class * self.classes + class]
    }

    /// Share of the pixels predicted as each class that have its label. `None` for a class that is
    /// never predicted.
    pub fn precision(&self) -> Vec<Option<f64>> {
        self.sums().map(|(class, _, predicted)| share(self.hit(class), predicted)).collect()
    }

    /// Share of the pixels labelled as each class that are predicted as it. `None` for a class that
    /// is no label.
    pub fn recall(&self) -> Vec<Option<f64>> {
        self.sums().map(|(class, labelled, _)| share(self.hit(class), labelled)).collect()
    }

    /// F1 score of each class: the harmonic mean of precision and recall, also known as the Dice
    /// coefficient. `None` for a class that occurs neither as label nor as prediction.
    pub fn f1(&self) -> Vec<Option<f64>> {
        let f1 = |(class, labelled, predicted)| share(2 * self.hit(class), labelled + predicted);
        self.sums().map(f1).collect()
    }

    /// The pairs of label and prediction that occur, with their counts, sorted by label and then by
    /// prediction.
    pub fn pairs(&self) -> Vec<(u8, u8, u64)> {
        let pair = |(index, &count): (usize, &u64)| {
            (count > 0).then(|| ((index / self.classes) as u8, (index % self.classes) as u8, count))
        };
        self.counts.iter().enumerate().filter_map(pair).collect()
    }

    /// The matrix over `num_classes` classes with these [`ConfusionMatrix::pairs`].
    ///
    /// # Errors
    /// If a label or prediction is not a class.
    pub fn from_pairs(num_classes: usize, pairs: &[(u8, u8, u64)]) -> Result<Self, Error> {
        let mut matrix = Self::new(num_classes);
        for (pixel, &(label, prediction, count)) in pairs.iter().enumerate() {
            check_class(pixel, label, prediction, num_classes)?;
            matrix.counts[usize::from(label) * num_classes + usize::from(prediction)] += count;
        }
        Ok(matrix)
    }
}

/// `part` of `whole`, or `None` of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Refuses maps of different lengths, and a labelled pixel with an invalid label or prediction.
pub(crate) fn check(prediction: &[u8], label: &[u8], classes: usize) -> Result<(), Error> {
    if prediction.len() != label.len() {
        return Err(Error::Length { predictions: prediction.len(), labels: label.len() });
    }
    let mut labelled =
        prediction.iter().zip(label).enumerate().filter(|(_, (_, label))| **label != IGNORE_LABEL);
    labelled.try_for_each(|(pixel, (&prediction, &label))| check_class(pixel, label, prediction, classes))
}

fn check_class(pixel: usize, label: u8, prediction: u8, classes: usize) -> Result<(), Error> {
    let wrong = [("label", label), ("prediction", prediction)]
        .into_iter()
        .find(|(_, value)| usize::from(*value) >= classes);
    wrong.map_or(Ok(()), |(what, value)| Err(Error::Class { what, value, pixel, classes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Predictions and labels of five classes. Some pixels are not labelled.
    fn pixels() -> impl Strategy<Value = Vec<(u8, u8)>> {
        let label = prop_oneof![4 => 0_u8..5, 1 => Just(IGNORE_LABEL)];
        prop::collection::vec((0_u8..5, label), 0..200)
    }

    fn matrix(pixels: &[(u8, u8)]) -> ConfusionMatrix {
        let (prediction, label): (Vec<u8>, Vec<u8>) = pixels.iter().copied().unzip();
        let mut matrix = ConfusionMatrix::new(5);
        matrix.update(&prediction, &label).unwrap();
        matrix
    }

    proptest! {
        #[test]
        fn merging_equals_concatenating(a in pixels(), b in pixels()) {
            let mut merged = matrix(&a);
            merged.merge(&matrix(&b)).unwrap();
            prop_assert_eq!(merged, matrix(&[a, b].concat()));
        }

        #[test]
        fn order_and_unlabelled_pixels_have_no_influence(mut a in pixels(), prediction in 0_u8..5) {
            let expected = matrix(&a);
            a.reverse();
            a.push((prediction, IGNORE_LABEL));
            prop_assert_eq!(matrix(&a), expected);
        }

        #[test]
        fn pairs_are_the_matrix(a in pixels()) {
            let matrix = matrix(&a);
            prop_assert_eq!(ConfusionMatrix::from_pairs(5, &matrix.pairs()).unwrap(), matrix.clone());
            prop_assert!(matrix.pairs().iter().all(|(_, _, count)| *count > 0));
            prop_assert_eq!(matrix.num_classes(), 5);
            let right = a.iter().filter(|(p, l)| p == l).count() as f64;
            let labelled = a.iter().filter(|(_, l)| *l != IGNORE_LABEL).count();
            prop_assert_eq!(matrix.pixel_accuracy(), (labelled > 0).then(|| right / labelled as f64));
        }

        #[test]
        fn metrics_are_fractions(a in pixels()) {
            let matrix = matrix(&a);
            let all = matrix.iou().into_iter().chain([matrix.mean_iou(), matrix.pixel_accuracy()]);
            for value in all.flatten() {
                prop_assert!((0.0..=1.0).contains(&value));
            }
            prop_assert_eq!(matrix.mean_iou().is_some(), a.iter().any(|(_, l)| *l != IGNORE_LABEL));
        }

        #[test]
        fn a_perfect_prediction_scores_one(a in pixels()) {
            let right: Vec<_> = a.iter().map(|(_, label)| ((*label).min(4), *label)).collect();
            let matrix = matrix(&right);
            prop_assert!(matrix.mean_iou().is_none_or(|miou| miou == 1.0));
        }
    }

    #[test]
    fn precision_recall_and_f1_are_those_of_each_class() {
        // Class 0: 3 labelled, 2 right; 4 predicted. Class 1: 2 labelled, none right; 1 predicted.
        let matrix = matrix(&[(0, 0), (0, 0), (1, 0), (0, 1), (0, 1), (7, IGNORE_LABEL)]);
        assert_eq!(matrix.precision(), [Some(0.5), Some(0.0), None, None, None]);
        assert_eq!(matrix.recall(), [Some(2.0 / 3.0), Some(0.0), None, None, None]);
        assert_eq!(matrix.f1(), [Some(4.0 / 7.0), Some(0.0), None, None, None]);
    }

    #[test]
    fn rows_are_labels_and_columns_predictions() {
        let matrix = matrix(&[(1, 0), (1, 0), (2, 3)]);
        assert_eq!(matrix.counts()[1], 2);
        assert_eq!(matrix.counts()[3 * 5 + 2], 1);
        assert_eq!(matrix.iou(), [Some(0.0), Some(0.0), Some(0.0), Some(0.0), None]);
    }

    #[test]
    fn what_is_wrong_is_named_and_not_counted() {
        let mut matrix = ConfusionMatrix::new(3);
        let wrong = |what, value, pixel| Error::Class { what, value, pixel, classes: 3 };
        assert_eq!(matrix.update(&[0, 0], &[1, 3]), Err(wrong("label", 3, 1)));
        assert_eq!(matrix.update(&[0, 7], &[1, 2]), Err(wrong("prediction", 7, 1)));
        assert_eq!(matrix.update(&[0], &[1, 2]), Err(Error::Length { predictions: 1, labels: 2 }));
        assert!(matrix.merge(&ConfusionMatrix::new(4)).is_err());
        assert_eq!(matrix, ConfusionMatrix::new(3));
        assert_eq!(matrix.mean_iou(), None);
    }
}
