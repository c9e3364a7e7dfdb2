//! Random changes to training samples: one pass from the source to the crop.
//!
//! Flip, resize, rotation and crop are one affine map. Each pixel of the crop looks up its place in the source once,
//! so no resized or rotated image is ever built. Shrinking does not average, as `OpenCV`'s `INTER_LINEAR`.

use crate::{AugmentationParameters, IGNORE_LABEL, Image, Sample};

/// An augmented sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Crop {
    /// Image (3, size, size) with values in `[0, 1]`.
    pub image: Vec<f32>,
    /// Class indices and [`IGNORE_LABEL`] (size, size).
    pub label: Vec<u8>,
}

/// Changes a sample as `parameters` say. Pixels outside the image become `fill` (in `[0, 1]`) and are not labelled.
/// The image is interpolated between pixels, the label map takes the nearest.
pub fn apply(sample: &Sample, parameters: &AugmentationParameters, fill: [f32; 3]) -> Crop {
    let Sample { image, label, .. } = sample;
    let size = parameters.crop;
    let map = Map::new(image.width, image.height, parameters);
    let area = size * size;
    let mut crop = Crop { image: vec![0.0; 3 * area], label: vec![IGNORE_LABEL; area] };
    for row in 0..size {
        for column in 0..size {
            let pixel = row * size + column;
            let (x, y) = map.source(column, row);
            let inside = (0.0..image.width as f64).contains(&x) && (0.0..image.height as f64).contains(&y);
            let colour = if inside {
                crop.label[pixel] = label.data[y as usize * label.width + x as usize];
                interpolate(image, x, y)
            } else {
                fill
            };
            for (channel, value) in colour.into_iter().enumerate() {
                crop.image[channel * area + pixel] = value;
            }
        }
    }
    if parameters.sigma > 0.0 {
        crop.image.chunks_exact_mut(area).for_each(|channel| blur(channel, size, parameters.sigma));
    }
    crop
}

/// From the crop's pixels to places in the source, whose pixel `i` reaches from `i` to `i + 1`.
struct Map {
    x: [f64; 3],
    y: [f64; 3],
}

impl Map {
    fn new(width: usize, height: usize, parameters: &AugmentationParameters) -> Self {
        let resized = |side: usize| (side as f64 * parameters.scale).round().max(1.0);
        let (new_width, new_height) = (resized(width), resized(height));
        let size = parameters.crop as f64;
        let start = |side: f64, place: f64| {
            let room = side - size;
            if room >= 0.0 { (place * (room + 1.0)).floor().min(room) } else { (room / 2.0).floor() }
        };
        // The crop's first pixel, seen from the centre of the resized image.
        let left = start(new_width, parameters.place[1]) + 0.5 - new_width / 2.0;
        let top = start(new_height, parameters.place[0]) + 0.5 - new_height / 2.0;
        let (sin, cos) = parameters.rotation.to_radians().sin_cos();
        let mirror = if parameters.flip { -1.0 } else { 1.0 };
        let (to_x, to_y) = (mirror * width as f64 / new_width, height as f64 / new_height);
        let (centre_x, centre_y) = (width as f64 / 2.0, height as f64 / 2.0);
        Self {
            x: [to_x * cos, to_x * sin, centre_x + to_x * (cos * left + sin * top)],
            y: [-to_y * sin, to_y * cos, centre_y + to_y * (cos * top - sin * left)],
        }
    }

    fn source(&self, column: usize, row: usize) -> (f64, f64) {
        let at =
            |[by_column, by_row, start]: [f64; 3]| by_column * column as f64 + by_row * row as f64 + start;
        (at(self.x), at(self.y))
    }
}

/// The colour at a place inside the image, in `[0, 1]`.
fn interpolate(image: &Image, x: f64, y: f64) -> [f32; 3] {
    let neighbours = |place: f64, count: usize| {
        let place = (place - 0.5).clamp(0.0, (count - 1) as f64);
        let first = place as usize;
        (first, (first + 1).min(count - 1), (place - first as f64) as f32)
    };
    let (left, right, to_right) = neighbours(x, image.width);
    let (above, below, downwards) = neighbours(y, image.height);
    std::array::from_fn(|channel| {
        let value =
            |column: usize, row: usize| f32::from(image.data[(row * image.width + column) * 3 + channel]);
        let between = |first: f32, second: f32, share: f32| first + (second - first) * share;
        let upper = between(value(left, above), value(right, above), to_right);
        let lower = between(value(left, below), value(right, below), to_right);
        between(upper, lower, downwards) / 255.0
    })
}

/// Gaussian blur of a square channel; at the border its outermost pixels go on.
fn blur(channel: &mut [f32], size: usize, sigma: f64) {
    let radius = (3.0 * sigma).ceil() as usize;
    let weight = |offset: usize| (-0.5 * (offset as f64 / sigma).powi(2)).exp() as f32;
    let mut kernel: Vec<f32> = (0..=2 * radius).map(|tap| weight(tap.abs_diff(radius))).collect();
    let sum: f32 = kernel.iter().sum();
    for weight in &mut kernel {
        *weight /= sum;
    }
    let clamped = |place: usize| place.saturating_sub(radius).min(size - 1);

    let mut rows = vec![0.0; channel.len()];
    for (from, to) in channel.chunks_exact(size).zip(rows.chunks_exact_mut(size)) {
        for (column, slot) in to.iter_mut().enumerate() {
            *slot = kernel.iter().enumerate().map(|(tap, weight)| weight * from[clamped(column + tap)]).sum();
        }
    }
    channel.fill(0.0);
    for (row, to) in channel.chunks_exact_mut(size).enumerate() {
        for (tap, weight) in kernel.iter().enumerate() {
            let from = &rows[clamped(row + tap) * size..][..size];
            to.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
        }
        // The weights' sum is rounded: it may be a little more than one.
        for value in to {
            *value = value.min(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::{AugmentationConfig, LabelMap};

    const FILL: [f32; 3] = [0.25, 0.5, 0.75];

    fn sample(width: usize, height: usize, seed: u64) -> Sample {
        use rand::RngExt;
        let mut random = robustseg_random::stream(seed, "test", [0; 3]);
        let image = (0..width * height * 3).map(|_| random.random()).collect();
        let label = (0..width * height).map(|_| random.random_range(0..4)).collect();
        Sample {
            id: "sample".into(),
            image: Image { width, height, data: image },
            label: LabelMap { width, height, data: label },
        }
    }

    fn mirrored(crop: &Crop, size: usize) -> Crop {
        let mut crop = crop.clone();
        crop.image.chunks_exact_mut(size).for_each(<[f32]>::reverse);
        crop.label.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        crop
    }

    proptest! {
        #[test]
        fn identity_is_the_centre_crop_exactly(w in 1_usize..40, h in 1_usize..40, size in 1_usize..40, seed: u64) {
            let sample = sample(w, h, seed);
            let crop = apply(&sample, &AugmentationParameters::identity(size), FILL);
            let start = |side: usize| (side as i64 - size as i64 + i64::from(side > size)).div_euclid(2);
            for row in 0..size {
                for column in 0..size {
                    let (x, y) = (start(w) + column as i64, start(h) + row as i64);
                    let inside = (0..w as i64).contains(&x) && (0..h as i64).contains(&y);
                    let source = if inside { y as usize * w + x as usize } else { 0 };
                    let pixel = row * size + column;
                    let label = if inside { sample.label.data[source] } else { IGNORE_LABEL };
                    prop_assert_eq!(crop.label[pixel], label);
                    for (channel, fill) in FILL.into_iter().enumerate() {
                        let value = f32::from(sample.image.data[source * 3 + channel]) / 255.0;
                        let expected = if inside { value } else { fill };
                        prop_assert_eq!(crop.image[channel * size * size + pixel], expected);
                    }
                }
            }
        }

        #[test]
        fn flipping_twice_is_nothing(w in 2_usize..20, h in 2_usize..20, seed: u64) {
            // A square crop that is even with the image, so that both have one middle.
            let size = w;
            let sample = sample(w, h, seed);
            let identity = AugmentationParameters::identity(size);
            let flipped = apply(&sample, &AugmentationParameters { flip: true, ..identity }, FILL);
            prop_assert_eq!(mirrored(&flipped, size), apply(&sample, &identity, FILL));
        }

        #[test]
        fn labels_and_colours_come_from_the_source_or_the_filling(
            w in 1_usize..50, h in 1_usize..50, seed: u64, epoch in 0_u64..9, index in 0_u64..9,
        ) {
            let sample = sample(w, h, seed);
            let config = AugmentationConfig { rotation: 60.0, scale: [0.1, 3.0], crop: 24, ..Default::default() };
            let parameters = config.draw(seed, epoch, index);
            let crop = apply(&sample, &parameters, FILL);
            prop_assert_eq!(&crop, &apply(&sample, &config.draw(seed, epoch, index), FILL));
            prop_assert!(crop.label.iter().all(|l| *l == IGNORE_LABEL || sample.label.data.contains(l)));
            prop_assert!(crop.image.iter().all(|v| (0.0..=1.0).contains(v)));
            if parameters.sigma == 0.0 {
                for (pixel, label) in crop.label.iter().enumerate() {
                    let colour = [0, 1, 2].map(|channel| crop.image[channel * 24 * 24 + pixel]);
                    prop_assert!(*label != IGNORE_LABEL || colour == FILL);
                }
            }
        }
    }

    #[test]
    fn a_right_angle_moves_pixels_exactly() {
        let sample = sample(9, 9, 1);
        let identity = AugmentationParameters::identity(9);
        let upright = apply(&sample, &identity, FILL);
        let turned = apply(&sample, &AugmentationParameters { rotation: 90.0, ..identity }, FILL);
        for row in 0..9 {
            for column in 0..9 {
                // Clockwise: what was at the left end is now at the top.
                assert_eq!(turned.label[row * 9 + column], upright.label[(8 - column) * 9 + row]);
            }
        }
    }

    #[test]
    fn a_linear_ramp_stays_one_when_resized() {
        let (width, height) = (32, 20);
        let data = (0..height).flat_map(|_| (0..width).flat_map(|x| [(x * 4) as u8; 3])).collect();
        let mut sample = sample(width, height, 0);
        sample.image.data = data;
        for scale in [0.5, 2.0, 1.3] {
            let crop = apply(
                &sample,
                &AugmentationParameters { scale, ..AugmentationParameters::identity(8) },
                FILL,
            );
            let step = 4.0 / 255.0 * width as f32 / (width as f32 * scale as f32).round();
            for pair in crop.image[..8].windows(2) {
                assert!((pair[1] - pair[0] - step).abs() < 1e-5, "{scale}: {pair:?}");
            }
        }
    }

    #[test]
    fn the_brightest_image_stays_within_its_range() {
        let mut sample = sample(30, 20, 0);
        sample.image.data.fill(255);
        for tenths in 1..15 {
            let sigma = f64::from(tenths) / 10.0;
            let parameters =
                AugmentationParameters { sigma, rotation: 3.0, ..AugmentationParameters::identity(16) };
            let crop = apply(&sample, &parameters, [1.0; 3]);
            assert!(crop.image.iter().all(|value| (1.0 - 1e-6..=1.0).contains(value)), "sigma {sigma}");
        }
    }

    #[test]
    fn blur_keeps_the_mean_and_a_constant_and_smooths() {
        let mut channel = vec![0.0; 21 * 21];
        channel[10 * 21 + 10] = 1.0;
        blur(&mut channel, 21, 1.2);
        assert!((channel.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let expected = 1.0 / (std::f32::consts::TAU * 1.2 * 1.2);
        assert!((channel[10 * 21 + 10] - expected).abs() < 2e-3, "{}", channel[220]);
        assert_eq!(channel[10 * 21 + 8], channel[8 * 21 + 10]);
        let mut constant = vec![0.3; 49];
        blur(&mut constant, 7, 1.5);
        assert!(constant.iter().all(|value| (value - 0.3).abs() < 1e-6));
    }
}
