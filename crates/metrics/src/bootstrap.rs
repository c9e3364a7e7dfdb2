//! Confidence intervals from the evaluated images: Efron's percentile bootstrap.

use crate::Overlap;

/// The interval that holds the share `level` (such as 0.95) of the bootstrap values of `statistic`.
/// Each of the `resamples` values is the statistic of the sum over `images.len()` images, drawn
/// from `images` with replacement. `None` if `images` is empty or a resample has no value.
///
/// `draw` returns a random index below its argument; a seeded one makes the interval reproducible.
/// The interval covers the choice of images, not another training of the network. The cost is
/// images times classes per resample.
pub fn bootstrap_interval(
    images: &[Overlap],
    statistic: impl Fn(&Overlap) -> Option<f64>,
    level: f64,
    resamples: usize,
    mut draw: impl FnMut(usize) -> usize,
) -> Option<[f64; 2]> {
    let classes = images.first()?.union().len();
    let mut values = (0..resamples)
        .map(|_| {
            let mut sum = Overlap::new(classes);
            for _ in images {
                sum.add(&images[draw(images.len())]);
            }
            statistic(&sum)
        })
        .collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(share * last as f64).round() as usize];
    let tail = (1.0 - level) / 2.0;
    Some([at(tail), at(1.0 - tail)])
}

/// Mean and sample standard deviation (divisor n - 1) of `values`. A single value has no deviation.
/// `None` if `values` is empty.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator for tests: the high bits of a linear congruential generator.
    fn draws(mut state: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as usize) % below
        }
    }

    #[test]
    fn the_interval_of_a_share_is_the_binomials() {
        // 400 images of one pixel each, three quarters of them right: the standard deviation of the
        // share is 0.0217.
        let image = |right: u64| Overlap::of(vec![right, 0], vec![1, 1 - right]);
        let images: Vec<Overlap> = (0..400).map(|index| image(u64::from(index % 4 > 0))).collect();
        let [low, high] = bootstrap_interval(&images, Overlap::pixel_accuracy, 0.95, 2000, draws(1)).unwrap();
        for (found, expected) in [(low, 0.75 - 1.96 * 0.0217), (high, 0.75 + 1.96 * 0.0217)] {
            assert!((found - expected).abs() < 0.006, "{found} is not {expected}");
        }
        let again = bootstrap_interval(&images, Overlap::pixel_accuracy, 0.95, 2000, draws(1));
        assert_eq!(again, Some([low, high]));
        // An interval of level 0 is the median.
        let [low, high] = bootstrap_interval(&images, Overlap::pixel_accuracy, 0.0, 2000, draws(1)).unwrap();
        assert!(low == high && (low - 0.75).abs() < 0.006, "{low}, {high}");
    }

    #[test]
    fn equal_images_give_an_interval_of_length_zero_and_no_images_give_none() {
        let image = Overlap::of(vec![3, 2], vec![4, 6]);
        let images = vec![image.clone(); 7];
        let mean = image.mean_iou().unwrap();
        let interval = bootstrap_interval(&images, Overlap::mean_iou, 0.95, 50, draws(2)).unwrap();
        assert!(interval.iter().all(|end| (end - mean).abs() < 1e-12));
        assert_eq!(bootstrap_interval(&[], Overlap::mean_iou, 0.95, 50, draws(2)), None);
        assert_eq!(bootstrap_interval(&images, Overlap::mean_iou, 0.95, 0, draws(2)), None);
    }

    #[test]
    fn deviations_are_of_samples() {
        assert_eq!(mean_and_deviation(&[]), None);
        assert_eq!(mean_and_deviation(&[0.5]), Some((0.5, None)));
        assert_eq!(mean_and_deviation(&[1.0, 2.0, 3.0]), Some((2.0, Some(1.0))));
    }
}
