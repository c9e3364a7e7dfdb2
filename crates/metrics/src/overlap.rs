//! Intersection and union of each class, for one image or many.

/// Intersections and unions of label and prediction by class, in pixels. They add up: those of a
/// dataset are the sum over its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    intersection: Vec<u64>,
    union: Vec<u64>,
}

impl Overlap {
    /// An overlap without pixels, over `num_classes` classes.
    pub fn new(num_classes: usize) -> Self {
        Self::of(vec![0; num_classes], vec![0; num_classes])
    }

    /// An overlap with these counts by class.
    ///
    /// # Panics
    /// If the counts have different numbers of classes.
    pub fn of(intersection: Vec<u64>, union: Vec<u64>) -> Self {
        assert_eq!(intersection.len(), union.len(), "counts of as many classes");
        Self { intersection, union }
    }

    /// Pixels of each class that are predicted correctly.
    pub fn intersection(&self) -> &[u64] {
        &self.intersection
    }

    /// Pixels that have the class as their label, their prediction or both.
    pub fn union(&self) -> &[u64] {
        &self.union
    }

    /// Adds the pixels of `other`.
    ///
    /// # Panics
    /// If the numbers of classes differ.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, |a, b| a + b);
    }

    /// Removes the pixels of `other`, which were added before.
    ///
    /// # Panics
    /// If the numbers of classes differ.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a - b);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        assert_eq!(self.union.len(), other.union.len(), "overlaps of as many classes");
        let pairs = [(&mut self.intersection, &other.intersection), (&mut self.union, &other.union)];
        for (own, other) in pairs {
            for (own, other) in own.iter_mut().zip(other) {
                *own = with(*own, *other);
            }
        }
    }

    /// The sum of `overlaps`, over `num_classes` classes.
    pub fn sum<'a>(num_classes: usize, overlaps: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::new(num_classes);
        for overlap in overlaps {
            sum.add(overlap);
        }
        sum
    }

    /// Intersection over union of each class. `None` for a class that occurs neither as label nor
    /// as prediction.
    pub fn iou(&self) -> Vec<Option<f64>> {
        let pairs = self.intersection.iter().zip(&self.union);
        pairs.map(|(&hit, &union)| (union > 0).then(|| hit as f64 / union as f64)).collect()
    }

    /// Mean IoU of classes that occur. `None` if nothing was counted.
    pub fn mean_iou(&self) -> Option<f64> {
        let iou: Vec<f64> = self.iou().into_iter().flatten().collect();
        (!iou.is_empty()).then(|| iou.iter().sum::<f64>() / iou.len() as f64)
    }

    /// Share of the labelled pixels whose prediction is right. `None` if nothing was counted.
    ///
    /// A right pixel is in one intersection and one union. A wrong pixel is in two unions, that of
    /// its label and that of its prediction. Intersections and unions together therefore count
    /// every labelled pixel twice.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let right: u64 = self.intersection.iter().sum();
        let twice = right + self.union.iter().sum::<u64>();
        (twice > 0).then(|| right as f64 / (twice / 2) as f64)
    }
}

/// The average of single images' mean IoU, over images with a labelled pixel. It differs from the
/// dataset's mean IoU: a class counts only in images where it occurs, and a small object counts as
/// much as a large one.
pub fn image_averaged_mean_iou(images: &[Overlap]) -> Option<f64> {
    let means: Vec<f64> = images.iter().filter_map(Overlap::mean_iou).collect();
    (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_over_images_is_not_the_datasets() {
        // A hundred right pixels of class 0 in one image, and a wrong pixel of class 1 in another.
        let images = [Overlap::of(vec![100, 0], vec![100, 0]), Overlap::of(vec![0, 0], vec![1, 1])];
        assert_eq!(image_averaged_mean_iou(&images), Some(0.5));
        assert_eq!(Overlap::sum(2, &images).mean_iou(), Some(100.0 / 101.0 / 2.0));
        assert_eq!(image_averaged_mean_iou(&[Overlap::new(2)]), None);
    }
}
