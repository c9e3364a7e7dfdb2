//! How small perturbations are that get a share of the pixels wrong.

use crate::observation::Observation;
use crate::record::Smallest;

impl Smallest {
    /// Over `images`, each observed in one or more forms: an image's perturbation is the smallest
    /// with a share of at least `wrong`. `None` without a labelled image.
    pub(crate) fn of(wrong: f64, images: &[Vec<&Observation>]) -> Option<Self> {
        let labelled = images.iter().filter(|forms| forms.iter().any(|form| !form.pairs.is_empty()));
        let norm = |forms: &Vec<&Observation>| {
            let enough = forms.iter().filter(|form| is_enough(form, wrong));
            enough.map(|form| f64::from(form.largest)).fold(f64::INFINITY, f64::min)
        };
        let mut norms: Vec<f64> = labelled.map(norm).collect();
        norms.sort_by(f64::total_cmp);
        let (low, high) = (norms.get(norms.len().saturating_sub(1) / 2)?, norms.get(norms.len() / 2)?);
        let median = f64::midpoint(*low, *high);
        let succeeded = norms.iter().filter(|norm| norm.is_finite()).count() as f64 / norms.len() as f64;
        Some(Self { wrong, succeeded, median: Some(median).filter(|median| median.is_finite()) })
    }
}

/// Whether at least the share `wrong` of the labelled pixels is wrong.
fn is_enough(observation: &Observation, wrong: f64) -> bool {
    let pixels = |is: fn(u8, u8) -> bool| -> u64 {
        let pairs = observation.pairs.iter().filter(|(label, prediction, _)| is(*label, *prediction));
        pairs.map(|(_, _, count)| count).sum()
    };
    pixels(|label, prediction| label != prediction) as f64 >= wrong * pixels(|_, _| true) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use robustseg_metrics::{ConfusionMatrix, Objects, boundary_overlap};

    /// An image of ten pixels, of which this many are wrong.
    fn observe(wrong: usize, largest: f32) -> Observation {
        let label: Vec<u8> = (0..10).map(|pixel| u8::from(pixel < wrong)).collect();
        let mut matrix = ConfusionMatrix::new(2);
        matrix.update(&[0; 10], &label).unwrap();
        let boundary = boundary_overlap(&[0; 10], &label, 5, 2, 1).unwrap();
        let (pairs, overlap) = (matrix.pairs(), matrix.overlap());
        let objects = Objects::of(&[0; 10], &label, 5, 2).unwrap();
        Observation { pairs, overlap, boundary, objects, loss: 1.0, largest, unmoved: 0.0 }
    }

    #[test]
    fn the_median_counts_images_without_success_as_infinite() {
        let norms = [(10, 0.25), (9, 0.5), (8, 0.125), (9, 1.0)].map(|(wrong, norm)| observe(wrong, norm));
        let of = |count: usize, wrong| {
            let images: Vec<Vec<&Observation>> = norms[..count].iter().map(|one| vec![one]).collect();
            Smallest::of(wrong, &images).map(|Smallest { succeeded, median, .. }| (succeeded, median))
        };
        assert_eq!(of(4, 0.9), Some((0.75, Some(0.75))));
        assert_eq!(of(3, 0.9), Some((2.0 / 3.0, Some(0.5))));
        assert_eq!(of(4, 0.95), Some((0.25, None)));
        assert_eq!(of(4, 0.8), Some((1.0, Some(0.375))));
        assert_eq!(of(0, 0.9), None);
        let forms = vec![vec![&norms[1], &norms[0]]];
        assert_eq!(Smallest::of(0.9, &forms).and_then(|smallest| smallest.median), Some(0.25));
    }
}
