//! IoU by the size of objects.

use std::collections::BTreeMap;

use crate::components::components;
use crate::confusion::check;
use crate::{Error, IGNORE_LABEL};

/// How large an object is among those of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tercile {
    /// The smallest third.
    Small,
    /// The middle third.
    Medium,
    /// The largest third.
    Large,
}

/// Counts of one class and one range of areas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Objects in the label.
    objects: u64,
    /// Their pixels.
    area: u64,
    /// Those of pixels that are predicted correctly.
    hits: u64,
    /// Labelled pixels of other classes in predicted objects of this class and size.
    strays: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.area += other.area;
        self.hits += other.hits;
        self.strays += other.strays;
    }
}

/// Pixels of label and prediction by class and size of the object, for one image or many. They add
/// up: those of a dataset are the sum over its images.
///
/// An object is a connected component of a class through the eight neighbours of a pixel. A pixel of
/// a label's object is a hit if it is predicted correctly. A wrong pixel counts against the
/// predicted class, at the size of the predicted object. Pixels without a label belong to no object.
///
/// Sizes are thirds of the objects of a class, by area, over all summed images. Areas are kept as
/// ranges that begin at powers of the square root of 2, and objects of one range stay together. A
/// third ends with the first range that completes it, so the larger thirds may hold fewer objects.
/// [`Objects::edges`] are the areas where they begin. They depend on the labels alone, so all
/// predictions share them.
///
/// ```
/// use robustseg_metrics::{Objects, Tercile};
/// // Class 1 has objects of 1, 2 and 4 pixels in one row. The first is missed.
/// let label = [1, 0, 1, 1, 0, 1, 1, 1, 1];
/// let prediction = [0, 0, 1, 1, 0, 1, 1, 1, 1];
/// let objects = Objects::of(&prediction, &label, 9, 2)?;
/// assert_eq!(objects.iou(Tercile::Small)[1], Some(0.0));
/// assert_eq!(objects.iou(Tercile::Medium)[1], Some(1.0));
/// assert_eq!(objects.iou(Tercile::Large)[1], Some(1.0));
/// assert_eq!(objects.edges()[1], Some([2, 3]));
/// # Ok::<(), robustseg_metrics::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    classes: usize,
    /// By class and range.
    counts: BTreeMap<(u8, u8), Counts>,
}

/// The counts of a class and a range of areas: class, range, and objects, area, hits, strays.
pub type ObjectCounts = (u8, u8, [u64; 4]);

impl Objects {
    /// No objects, over `num_classes` classes.
    pub fn new(num_classes: usize) -> Self {
        Self { classes: num_classes, counts: BTreeMap::new() }
    }

    /// The objects of a `prediction` for a `label`, both in rows of `width` pixels. The cost is a few
    /// passes over the image.
    ///
    /// # Errors
    /// The errors of [`ConfusionMatrix::update`](crate::ConfusionMatrix::update).
    ///
    /// # Panics
    /// If the pixels do not fill rows of `width`.
    pub fn of(prediction: &[u8], label: &[u8], width: usize, num_classes: usize) -> Result<Self, Error> {
        check(prediction, label, num_classes)?;
        assert!(width > 0 && label.len().is_multiple_of(width), "rows of {width} pixels");
        let known = |(&predicted, &truth): (&u8, &u8)| if truth == IGNORE_LABEL { truth } else { predicted };
        let prediction: Vec<u8> = prediction.iter().zip(label).map(known).collect();
        let equal = |pixels: std::ops::Range<usize>| {
            pixels.filter(|&pixel| prediction[pixel] == label[pixel]).count() as u64
        };
        let mut found = Self::new(num_classes);
        for run in components(label, width).into_iter().filter(|run| run.class != IGNORE_LABEL) {
            let (objects, area) = (u64::from(run.is_first), run.pixels.len() as u64);
            let counts = Counts { objects, area, hits: equal(run.pixels), strays: 0 };
            found.add(run.class, run.area, counts);
        }
        for run in components(&prediction, width).into_iter().filter(|run| run.class != IGNORE_LABEL) {
            let strays = run.pixels.len() as u64 - equal(run.pixels);
            if strays > 0 {
                found.add(run.class, run.area, Counts { strays, ..Counts::default() });
            }
        }
        Ok(found)
    }

    fn add(&mut self, class: u8, area: u64, counts: Counts) {
        self.counts.entry((class, range(area))).or_default().add(counts);
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The counts in the order of classes and sizes, for storing.
    pub fn counts(&self) -> Vec<ObjectCounts> {
        let plain = |(&(class, range), counts): (&(u8, u8), &Counts)| {
            (class, range, [counts.objects, counts.area, counts.hits, counts.strays])
        };
        self.counts.iter().map(plain).collect()
    }

    /// The objects with these `counts`, over `num_classes` classes.
    pub fn from_counts(num_classes: usize, counts: &[ObjectCounts]) -> Self {
        let mut found = Self::new(num_classes);
        for &(class, range, [objects, area, hits, strays]) in counts {
            found.counts.entry((class, range)).or_default().add(Counts { objects, area, hits, strays });
        }
        found
    }

    /// The sum of `all`, over `num_classes` classes.
    pub fn sum<'a>(num_classes: usize, all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::new(num_classes);
        for (&key, &counts) in all.into_iter().flat_map(|objects| &objects.counts) {
            sum.counts.entry(key).or_default().add(counts);
        }
        sum
    }

    /// For each class, the areas in pixels from which on its objects are of the middle and of the
    /// largest third. `None` for a class without objects.
    pub fn edges(&self) -> Vec<Option<[u64; 2]>> {
        (0..self.classes).map(|class| Some(self.ranges(class as u8)?.map(smallest_area))).collect()
    }

    /// IoU of each class over its objects in a third by size. `None` for a class without such
    /// objects.
    pub fn iou(&self, tercile: Tercile) -> Vec<Option<f64>> {
        (0..self.classes).map(|class| self.iou_of(class as u8, tercile)).collect()
    }

    /// Mean of [`Objects::iou`] over the classes that have such objects. `None` if no class has.
    pub fn mean_iou(&self, tercile: Tercile) -> Option<f64> {
        let iou: Vec<f64> = self.iou(tercile).into_iter().flatten().collect();
        (!iou.is_empty()).then(|| iou.iter().sum::<f64>() / iou.len() as f64)
    }

    fn of_class(&self, class: u8) -> impl Iterator<Item = (u8, Counts)> {
        self.counts.range((class, 0)..=(class, u8::MAX)).map(|(&(_, range), &counts)| (range, counts))
    }

    /// The ranges at which the middle and the largest third of a class begin.
    fn ranges(&self, class: u8) -> Option<[u8; 2]> {
        let total: u64 = self.of_class(class).map(|(_, counts)| counts.objects).sum();
        let after = |thirds: u64| {
            let mut seen = 0;
            let enough = |(_, counts): &(u8, Counts)| {
                seen += counts.objects;
                3 * seen >= thirds * total
            };
            self.of_class(class).find(enough).map(|(range, _)| range + 1)
        };
        if total == 0 { None } else { Some([after(1)?, after(2)?]) }
    }

    fn iou_of(&self, class: u8, tercile: Tercile) -> Option<f64> {
        let [medium, large] = self.ranges(class)?;
        let mut sum = Counts::default();
        for (range, counts) in self.of_class(class) {
            let own = match range {
                _ if range < medium => Tercile::Small,
                _ if range < large => Tercile::Medium,
                _ => Tercile::Large,
            };
            if own == tercile {
                sum.add(counts);
            }
        }
        (sum.objects > 0).then(|| sum.hits as f64 / (sum.area + sum.strays) as f64)
    }
}

/// The number of the range around `area`: two ranges to each power of 2, from 0.
fn range(area: u64) -> u8 {
    let octave = area.max(1).ilog2();
    let upper = area >= upper_half(octave);
    (2 * octave + u32::from(upper)) as u8
}

/// The smallest area in a range. The range 1 has none, and takes that of the next.
fn smallest_area(range: u8) -> u64 {
    let octave = u32::from(range / 2);
    if range.is_multiple_of(2) { 1 << octave } else { upper_half(octave) }
}

/// The smallest whole number of at least the square root of 2 times 2 to the `octave`.
fn upper_half(octave: u32) -> u64 {
    ((1_u64 << octave) as f64 * std::f64::consts::SQRT_2).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfusionMatrix;
    use proptest::prelude::*;

    const ALL: [Tercile; 3] = [Tercile::Small, Tercile::Medium, Tercile::Large];

    /// A label and a prediction of three classes, and their width.
    fn maps() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, usize)> {
        (1_usize..9, 1_usize..8).prop_flat_map(|(width, height)| {
            let class = prop_oneof![4 => 0_u8..3, 1 => Just(IGNORE_LABEL)];
            let label = prop::collection::vec(class, width * height);
            (label, prop::collection::vec(0_u8..3, width * height), Just(width))
        })
    }

    fn whole(objects: &Objects, class: u8) -> Counts {
        let mut sum = Counts::default();
        objects.of_class(class).for_each(|(_, counts)| sum.add(counts));
        sum
    }

    proptest! {
        #[test]
        fn all_sizes_together_have_the_pixels_of_the_confusion_matrix((label, prediction, width) in maps()) {
            let objects = Objects::of(&prediction, &label, width, 3).unwrap();
            let mut matrix = ConfusionMatrix::new(3);
            matrix.update(&prediction, &label).unwrap();
            let overlap = matrix.overlap();
            for class in 0..3 {
                let sum = whole(&objects, class);
                prop_assert_eq!(sum.hits, overlap.intersection()[usize::from(class)]);
                prop_assert_eq!(sum.area + sum.strays, overlap.union()[usize::from(class)]);
            }
            prop_assert_eq!(Objects::from_counts(3, &objects.counts()), objects);
        }

        #[test]
        fn the_iou_of_a_class_lies_between_those_of_its_sizes((label, prediction, width) in maps()) {
            let objects = Objects::of(&prediction, &label, width, 3).unwrap();
            for class in 0..3_u8 {
                let of = ALL.map(|tercile| objects.iou(tercile)[usize::from(class)]);
                let Some(of) = of.into_iter().collect::<Option<Vec<f64>>>() else { continue };
                let sum = whole(&objects, class);
                let iou = sum.hits as f64 / (sum.area + sum.strays) as f64;
                let (least, most) = (of.iter().fold(1.0, |a: f64, b| a.min(*b)), of.iter().fold(0.0, |a: f64, b| a.max(*b)));
                prop_assert!(least - 1e-12 <= iou && iou <= most + 1e-12, "{} of {:?}", iou, of);
            }
        }

        #[test]
        fn a_right_prediction_is_right_at_every_size((label, _, width) in maps()) {
            let right: Vec<u8> = label.iter().map(|&class| if class == IGNORE_LABEL { 0 } else { class }).collect();
            let objects = Objects::of(&right, &label, width, 3).unwrap();
            for tercile in ALL {
                prop_assert!(objects.iou(tercile).into_iter().flatten().all(|iou| iou == 1.0));
            }
        }

        #[test]
        fn edges_leave_thirds_below_them_and_depend_on_labels_alone(
            areas in prop::collection::vec(1_u64..3000, 1..40),
            strays in prop::collection::vec(1_u64..3000, 0..5),
        ) {
            let mut objects = Objects::new(1);
            for &area in &areas {
                objects.add(0, area, Counts { objects: 1, area, ..Counts::default() });
            }
            let edges = objects.edges()[0].unwrap();
            for (thirds, edge) in [1, 2].into_iter().zip(edges) {
                let below = |edge: u64| areas.iter().filter(|&&area| area < edge).count() * 3;
                prop_assert!(below(edge) >= thirds * areas.len());
                // One range earlier fewer would be below.
                prop_assert!(below(smallest_area(range(edge - 1))) < thirds * areas.len());
            }
            for &area in &strays {
                objects.add(0, area, Counts { strays: 1, ..Counts::default() });
            }
            prop_assert_eq!(objects.edges()[0].unwrap(), edges);
        }
    }

    #[test]
    fn ranges_are_two_to_an_octave() {
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(range), [0, 2, 3, 4, 4, 5, 5, 6]);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(smallest_area), [1, 2, 2, 3, 4, 6, 8, 12]);
        assert!((1..5000).all(|area| smallest_area(range(area)) <= area));
        assert!((2..60).all(|number| range(smallest_area(number)) == number));
    }

    #[test]
    fn a_stray_pixel_counts_at_the_size_of_the_object_it_is_predicted_in() {
        // Class 1: objects of 1, 2 and 4 pixels, all found. A predicted object of 2 pixels is wrong.
        let label = [1, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0];
        let prediction = [1, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1];
        let objects = Objects::of(&prediction, &label, 12, 2).unwrap();
        assert_eq!(ALL.map(|third| objects.iou(third)[1]), [Some(1.0), Some(0.5), Some(1.0)]);
    }

    #[test]
    fn objects_of_one_size_are_all_small() {
        let label = [1, 0, 1, 0, 1, 0];
        let objects = Objects::of(&[1, 0, 0, 0, 0, 0], &label, 6, 3).unwrap();
        assert_eq!(ALL.map(|third| objects.iou(third)[1]), [Some(1.0 / 3.0), None, None]);
        assert_eq!((objects.edges()[1], objects.edges()[2]), (Some([2, 2]), None));
        assert_eq!(Objects::new(2).mean_iou(Tercile::Small), None);
    }
}
