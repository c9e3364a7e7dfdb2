//! Applies random changes to training samples in one pass from the source to the crop.
//!
//! Flip, resize, rotation and crop form a single affine map. Each pixel of the crop looks up its
//! position in the source once, so no resized or rotated image is ever built. When shrinking, a
//! pixel is the mean of the four around its position, as with `OpenCV`'s `INTER_LINEAR`. At half
//! the size, these four are all that it covers.

use crate::affine::{Affine, Neighbours, Place, Side, whole};
use crate::blur::blur;
use crate::{AugmentationParameters, CropSize, IGNORE_LABEL, Image, Sample};

/// An augmented sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Crop {
    /// Image (3, height, width) with values in `[0, 1]`.
    pub image: Vec<f32>,
    /// Class indices and [`IGNORE_LABEL`] (height, width).
    pub label: Vec<u8>,
}

/// Applies `parameters` to a sample. Pixels outside the image become `fill` (in `[0, 1]`) and are
/// not labelled. The image is interpolated between pixels; the label map uses the nearest pixel.
///
/// The result is bit-identical on every machine: positions are in fixed point, and sums have a
/// fixed order.
pub fn apply(sample: &Sample, parameters: &AugmentationParameters, fill: [f32; 3]) -> Crop {
    apply_into(sample, parameters, fill, Crop::default())
}

/// Like [`apply`], in the memory of `spare`.
pub(crate) fn apply_into(
    sample: &Sample,
    parameters: &AugmentationParameters,
    fill: [f32; 3],
    spare: Crop,
) -> Crop {
    let Image { width, height, ref data } = sample.image;
    let affine = Affine::new(width, height, parameters);
    let source = Source { width, height, first: 0, image: data, label: &sample.label.data };
    source.crop(&affine, parameters, fill, spare)
}

/// Rows of a sample.
pub(crate) struct Source<'a> {
    /// Pixels per row.
    pub(crate) width: usize,
    /// Number of rows in the whole sample.
    pub(crate) height: usize,
    /// The first available row. From there on, all rows that the map needs are available.
    pub(crate) first: usize,
    /// The colours of these rows.
    pub(crate) image: &'a [u8],
    /// The labels of these rows.
    pub(crate) label: &'a [u8],
}

/// Red, green, blue, and a fourth value so that a pixel fills a register.
type Colour = [f32; 4];

impl Source<'_> {
    /// The crop that `affine`, the map of `parameters`, looks up. Reuses the memory of `crop`,
    /// whatever its content.
    pub(crate) fn crop(
        &self,
        affine: &Affine,
        parameters: &AugmentationParameters,
        fill: [f32; 3],
        mut crop: Crop,
    ) -> Crop {
        let size = affine.size();
        let (width, area) = (size.width, size.pixels());
        crop.image.resize(3 * area, 0.0);
        crop.label.resize(area, IGNORE_LABEL);
        let mut colours = vec![[0.0; 4]; width];
        for (row, labels) in crop.label.chunks_exact_mut(width).enumerate() {
            let inside = affine.inside(row);
            labels[..inside.start].fill(IGNORE_LABEL);
            labels[inside.end..].fill(IGNORE_LABEL);
            self.look_up(
                affine.place(inside.start, row),
                affine.step(),
                &mut colours[inside.clone()],
                &mut labels[inside.clone()],
            );
            for channel in 0..3 {
                let slots = &mut crop.image[channel * area + row * width..][..width];
                slots[..inside.start].fill(fill[channel]);
                slots[inside.end..].fill(fill[channel]);
                let values = colours[inside.clone()].iter().map(|colour| colour[channel] / 255.0);
                slots[inside.clone()].iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
            }
        }
        if parameters.sigma > 0.0 {
            let AugmentationParameters { sigma, reach, .. } = *parameters;
            crop.image.chunks_exact_mut(area).for_each(|channel| blur(channel, width, sigma, reach));
        }
        if affine.margin() > 0 {
            cut(&mut crop.image, size, affine.margin());
            cut(&mut crop.label, size, affine.margin());
        }
        if let Some(jitter) = parameters.jitter {
            jitter.apply(&mut crop.image);
        }
        crop
    }

    /// Colours (0 to 255) and labels at positions inside the source, starting at `place` in steps
    /// of `step`.
    fn look_up(&self, mut place: Place, step: Place, colours: &mut [Colour], labels: &mut [u8]) {
        let (across, down) = (Side::new(self.width), Side::new(self.height));
        for (colour, label) in colours.iter_mut().zip(labels) {
            *label = self.label[(whole(place.y) - self.first) * self.width + whole(place.x)];
            let (x, y) = (across.neighbours(place.x), down.neighbours(place.y));
            *colour = between(self.row(y.first, x), self.row(y.second, x), y.share);
            place = place.next(step);
        }
    }

    /// The colour between two pixels of a row.
    #[inline]
    fn row(&self, row: usize, x: Neighbours) -> Colour {
        let start = (row - self.first) * self.width;
        between(self.pixel(start + x.first), self.pixel(start + x.second), x.share)
    }

    #[inline]
    fn pixel(&self, at: usize) -> Colour {
        let rest = &self.image[3 * at..];
        // Reads four bytes at once. Only the last pixel has no successor to provide the fourth.
        let bytes = rest.first_chunk().copied().unwrap_or_else(|| [rest[0], rest[1], rest[2], 0]);
        bytes.map(f32::from)
    }
}

/// Removes `margin` pixels from each side of every channel of `size`.
fn cut<T: Copy>(channels: &mut Vec<T>, size: CropSize, margin: usize) {
    let CropSize { height, width } = size;
    let inner = width - 2 * margin;
    let mut end = 0;
    for channel in 0..channels.len() / size.pixels() {
        for row in margin..height - margin {
            let start = (channel * height + row) * width + margin;
            channels.copy_within(start..start + inner, end);
            end += inner;
        }
    }
    channels.truncate(end);
}

/// Interpolates between two colours.
#[inline]
fn between(first: Colour, second: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| first[channel] + (second[channel] - first[channel]) * share)
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
        fn identity_is_the_centre_crop_exactly(
            w in 1_usize..40, h in 1_usize..40, rows in 1_usize..40, columns in 1_usize..40, seed: u64,
        ) {
            let sample = sample(w, h, seed);
            let crop = apply(&sample, &AugmentationParameters::identity([rows, columns]), FILL);
            let start = |side: usize, size: usize| {
                (side as i64 - size as i64 + i64::from(side > size)).div_euclid(2)
            };
            for row in 0..rows {
                for column in 0..columns {
                    let (x, y) = (start(w, columns) + column as i64, start(h, rows) + row as i64);
                    let inside = (0..w as i64).contains(&x) && (0..h as i64).contains(&y);
                    let source = if inside { y as usize * w + x as usize } else { 0 };
                    let pixel = row * columns + column;
                    let label = if inside { sample.label.data[source] } else { IGNORE_LABEL };
                    prop_assert_eq!(crop.label[pixel], label);
                    for (channel, fill) in FILL.into_iter().enumerate() {
                        let value = f32::from(sample.image.data[source * 3 + channel]) / 255.0;
                        let expected = if inside { value } else { fill };
                        prop_assert_eq!(crop.image[channel * rows * columns + pixel], expected);
                    }
                }
            }
        }

        #[test]
        fn flipping_twice_is_nothing(w in 2_usize..20, h in 2_usize..20, seed: u64) {
            // A square crop with the parity of the image, so that both have the same centre.
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
            let base = if seed % 2 == 0 { AugmentationConfig::default() } else { AugmentationConfig::semseg() };
            let config = AugmentationConfig { rotation: 60.0, scale: [0.1, 3.0], crop: [24, 19].into(), ..base };
            let parameters = config.draw(seed, epoch, index);
            let crop = apply(&sample, &parameters, FILL);
            prop_assert_eq!(&crop, &apply(&sample, &config.draw(seed, epoch, index), FILL));
            prop_assert!(crop.label.iter().all(|l| *l == IGNORE_LABEL || sample.label.data.contains(l)));
            prop_assert!(crop.image.iter().all(|v| (0.0..=1.0).contains(v)));
            if parameters.sigma == 0.0 {
                for (pixel, label) in crop.label.iter().enumerate() {
                    let colour = [0, 1, 2].map(|channel| crop.image[channel * 24 * 19 + pixel]);
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
                // Clockwise: the left end moves to the top.
                assert_eq!(turned.label[row * 9 + column], upright.label[(8 - column) * 9 + row]);
            }
        }
    }

    #[test]
    fn a_blur_with_a_kernel_comes_before_the_crop() {
        let sample = sample(40, 40, 1);
        let identity = |sides: [usize; 2]| AugmentationParameters::identity(sides);
        for [height, width] in [[16, 16], [12, 18], [20, 10]] {
            let blurred = AugmentationParameters { sigma: 1.1, reach: Some(2), ..identity([height, width]) };
            let found = apply(&sample, &blurred, FILL);
            // The same position with two more pixels on each side.
            let wide = width + 4;
            let mut around = apply(&sample, &identity([height + 4, wide]), FILL);
            let channels = around.image.chunks_exact_mut((height + 4) * wide);
            channels.for_each(|channel| blur(channel, wide, 1.1, Some(2)));
            let inner = |channel: usize, row: usize| (channel * (height + 4) + row + 2) * wide + 2;
            for row in 0..height {
                for channel in 0..3 {
                    let expected = &around.image[inner(channel, row)..][..width];
                    assert_eq!(&found.image[(channel * height + row) * width..][..width], expected);
                }
                assert_eq!(&found.label[row * width..][..width], &around.label[inner(0, row)..][..width]);
            }
            assert_eq!((found.image.len(), found.label.len()), (3 * height * width, height * width));
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
}
