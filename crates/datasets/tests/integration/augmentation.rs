//! Compares the one-pass augmentation with the paper's steps in order, in f64: flip, resize,
//! rotate, blur, crop.

use robustseg_datasets::{
    AugmentationConfig, AugmentationParameters, IGNORE_LABEL, Image, LabelMap, Sample, apply,
};

const FILL: [f32; 3] = [0.2, 0.5, 0.7];
const CROP: usize = 44;

/// A picture with a value of type `T` per pixel.
#[derive(Clone)]
struct Grid<T> {
    width: usize,
    height: usize,
    data: Vec<T>,
}

impl<T: Copy> Grid<T> {
    fn from(width: usize, height: usize, value: impl Fn(usize, usize) -> T) -> Self {
        Self { width, height, data: (0..width * height).map(|at| value(at % width, at / width)).collect() }
    }

    fn at(&self, x: usize, y: usize) -> T {
        self.data[y * self.width + x]
    }

    /// The value of the pixel around a position. `None` outside. Pixel `i` extends from `i`
    /// to `i + 1`.
    fn nearest(&self, [x, y]: [f64; 2]) -> Option<T> {
        let inside = x >= 0.0 && y >= 0.0 && x < self.width as f64 && y < self.height as f64;
        inside.then(|| self.at(x as usize, y as usize))
    }

    fn flipped(&self) -> Self {
        Self::from(self.width, self.height, |x, y| self.at(self.width - 1 - x, y))
    }
}

impl Grid<[f64; 3]> {
    /// The interpolated value at a position. `None` outside.
    fn bilinear(&self, place: [f64; 2]) -> Option<[f64; 3]> {
        self.nearest(place)?;
        let clamped = |x: f64, y: f64| {
            let side = |v: f64, count: usize| v.clamp(0.0, count as f64 - 1.0) as usize;
            self.at(side(x, self.width), side(y, self.height))
        };
        let [x, y] = place.map(|v| v - 0.5);
        let mut sum = [0.0; 3];
        for (left, top) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
            let (column, row) = (x.floor() + left, y.floor() + top);
            let weight = (1.0 - (x - column).abs()) * (1.0 - (y - row).abs());
            let colour = clamped(column, row);
            sum.iter_mut().zip(colour).for_each(|(sum, value)| *sum += weight * value);
        }
        Some(sum)
    }
}

/// The result of the separate steps, in the crop's size.
struct Reference {
    image: Grid<[f64; 3]>,
    label: Grid<u8>,
}

fn reference(sample: &Sample, parameters: &AugmentationParameters) -> Reference {
    let (width, height) = (sample.image.width, sample.image.height);
    let mut image = Grid::from(width, height, |x, y| {
        [0, 1, 2].map(|channel| f64::from(sample.image.data[(y * width + x) * 3 + channel]) / 255.0)
    });
    let mut label = Grid::from(width, height, |x, y| sample.label.data[y * width + x]);
    if parameters.flip {
        (image, label) = (image.flipped(), label.flipped());
    }

    let resized = |side: usize| (side as f64 * parameters.scale).round();
    let (new_width, new_height) = (resized(width), resized(height));
    let source = |x: usize, y: usize| {
        [(x as f64 + 0.5) * width as f64 / new_width, (y as f64 + 0.5) * height as f64 / new_height]
    };
    let (columns, rows) = (new_width as usize, new_height as usize);
    let image = Grid::from(columns, rows, |x, y| image.bilinear(source(x, y)).unwrap());
    let label = Grid::from(columns, rows, |x, y| label.nearest(source(x, y)).unwrap());

    // Rotated on a canvas with a margin, so that nothing is cut off and the crop always fits.
    let margin = CROP;
    let (sin, cos) = parameters.rotation.to_radians().sin_cos();
    let unrotated = |x: usize, y: usize| {
        let u = x as f64 + 0.5 - margin as f64 - new_width / 2.0;
        let v = y as f64 + 0.5 - margin as f64 - new_height / 2.0;
        [cos * u + sin * v + new_width / 2.0, cos * v - sin * u + new_height / 2.0]
    };
    let (columns, rows) = (columns + 2 * margin, rows + 2 * margin);
    let fill = FILL.map(f64::from);
    let image = Grid::from(columns, rows, |x, y| image.bilinear(unrotated(x, y)).unwrap_or(fill));
    let label = Grid::from(columns, rows, |x, y| label.nearest(unrotated(x, y)).unwrap_or(IGNORE_LABEL));
    let image = if parameters.sigma > 0.0 { blurred(&image, parameters.sigma) } else { image };

    let start = |side: f64, place: f64| {
        let room = side - CROP as f64;
        let offset = if room < 0.0 { room / 2.0 } else { place * (room + 1.0) };
        (offset.floor() + margin as f64) as usize
    };
    let (left, top) = (start(new_width, parameters.place[1]), start(new_height, parameters.place[0]));
    Reference {
        image: Grid::from(CROP, CROP, |x, y| image.at(left + x, top + y)),
        label: Grid::from(CROP, CROP, |x, y| label.at(left + x, top + y)),
    }
}

/// A two-dimensional Gaussian, cut off at four standard deviations.
fn blurred(image: &Grid<[f64; 3]>, sigma: f64) -> Grid<[f64; 3]> {
    let radius = (4.0 * sigma).ceil() as i64;
    let side = |v: usize, by: i64, count: usize| (v as i64 + by).clamp(0, count as i64 - 1) as usize;
    Grid::from(image.width, image.height, |x, y| {
        let (mut sum, mut weights) = ([0.0; 3], 0.0);
        for (by, down) in (-radius..=radius).flat_map(|by| (-radius..=radius).map(move |down| (by, down))) {
            let weight = (-0.5 * (by * by + down * down) as f64 / (sigma * sigma)).exp();
            let colour = image.at(side(x, by, image.width), side(y, down, image.height));
            sum.iter_mut().zip(colour).for_each(|(sum, value)| *sum += weight * value);
            weights += weight;
        }
        sum.map(|sum| sum / weights)
    })
}

/// A smooth image, and a label map of coarse tiles, some of them unlabelled.
fn sample(width: usize, height: usize) -> Sample {
    let colour = |x: usize, y: usize| {
        let (x, y) = (x as f64, y as f64);
        [(x / 9.0).sin(), (y / 11.0).cos(), ((x + 2.0 * y) / 25.0).sin()]
            .map(|v| (127.5 + 90.0 * v).round() as u8)
    };
    let tile = |x: usize, y: usize| [3, 0, IGNORE_LABEL, 1, 2][(x / 17 + 3 * (y / 13)) % 5];
    let image = Grid::from(width, height, colour).data.concat();
    let label = Grid::from(width, height, tile).data;
    Sample {
        id: "smooth".into(),
        image: Image { width, height, data: image },
        label: LabelMap { width, height, data: label },
    }
}

/// The crop's pixels that are at least `margin` from its border.
fn inner(margin: usize) -> impl Iterator<Item = (usize, usize)> {
    (margin..CROP - margin).flat_map(move |y| (margin..CROP - margin).map(move |x| (x, y)))
}

#[test]
fn one_pass_equals_the_papers_steps_within_interpolation_error() {
    let config = AugmentationConfig { crop: CROP.into(), ..Default::default() };
    let (mut compared, mut all) = (0, 0);
    for (width, height) in [(61, 47), (48, 91), (33, 33), (101, 29)] {
        let sample = sample(width, height);
        for seed in 0..25 {
            let parameters = config.draw(seed, 0, 0);
            let (crop, reference) = (apply(&sample, &parameters, FILL), reference(&sample, &parameters));
            // Near the border, one blur uses only the crop and the other the pixels around it.
            for (x, y) in inner((3.0 * parameters.sigma).ceil() as usize) {
                for (channel, expected) in reference.image.at(x, y).into_iter().enumerate() {
                    let found = f64::from(crop.image[(channel * CROP + y) * CROP + x]);
                    assert!(
                        (found - expected).abs() < 0.015,
                        "{width}x{height} at {x}, {y}: {found} for {expected}; {parameters:?}"
                    );
                }
            }
            // Two rounded positions may differ by a pixel, so borders are left out.
            for (x, y) in inner(2) {
                let expected = reference.label.at(x, y);
                let around = (0..25).map(|at| reference.label.at(x + at % 5 - 2, y + at / 5 - 2));
                all += 1;
                if around.into_iter().all(|label| label == expected) {
                    compared += 1;
                    assert_eq!(
                        crop.label[y * CROP + x],
                        expected,
                        "{width}x{height} at {x}, {y}; {parameters:?}"
                    );
                }
            }
        }
    }
    assert!(2 * compared > all, "{compared} of {all}");
}
