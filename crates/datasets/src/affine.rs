//! The affine map from a crop to its source, in fixed point. It is the same on every machine, and
//! steps along it are exact.

use std::ops::Range;

use crate::{AugmentationParameters, CropSize};

/// Fractional bits of a position. The rounding error is at most `2^-33` pixels per step, which adds
/// up to a millionth over the largest crop.
const BITS: u32 = 32;

/// One pixel.
const ONE: i64 = 1 << BITS;

/// A position in the source, across and down, in units of `2^-32` pixels. Pixel `i` extends from
/// `i` to `i + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) x: i64,
    pub(crate) y: i64,
}

impl Place {
    /// The position after one `step`.
    pub(crate) fn next(self, step: Self) -> Self {
        Self { x: self.x + step.x, y: self.y + step.y }
    }
}

/// The pixel that contains a coordinate.
pub(crate) fn whole(coordinate: i64) -> usize {
    (coordinate >> BITS) as usize
}

/// Two neighbouring pixels and the weight of the second, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Neighbours {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) share: f32,
}

/// One dimension of the source, and how to find a coordinate's neighbours along it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    last: usize,
    /// The largest coordinate between two centres. Its share rounds to 1.
    largest: i64,
}

impl Side {
    pub(crate) fn new(pixels: usize) -> Self {
        let last = pixels.saturating_sub(1);
        Self { last, largest: ((last as i64) << BITS).saturating_sub(1).max(0) }
    }

    /// The pixels whose centres enclose a coordinate. Beyond the outermost centres, the outermost
    /// pixel.
    #[inline]
    pub(crate) fn neighbours(self, coordinate: i64) -> Neighbours {
        let place = (coordinate - ONE / 2).clamp(0, self.largest);
        let first = whole(place);
        // In units of 2^-32, so that the share is exact except for the rounding to f32.
        let share = (place & (ONE - 1)) as f32 * (1.0 / ONE as f32);
        Neighbours { first, second: (first + 1).min(self.last), share }
    }
}

/// Maps a crop's pixels to positions in the source: flip, resize, rotation and crop combined. If a
/// blur needs pixels beyond the crop, the map includes a margin around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine {
    /// The size of the crop with its margin.
    size: CropSize,
    margin: usize,
    width: usize,
    height: usize,
    /// The step from a pixel to the next in its row.
    step: Place,
    /// The position of a row's first pixel, in pixels: that of the first row, and the increment per
    /// row.
    x: [f64; 2],
    y: [f64; 2],
}

impl Affine {
    /// The map of `parameters` for a source of `width` x `height` pixels.
    pub(crate) fn new(width: usize, height: usize, parameters: &AugmentationParameters) -> Self {
        let resized = |side: usize| (side as f64 * parameters.scale).round().max(1.0);
        let (new_width, new_height) = (resized(width), resized(height));
        let margin = if parameters.sigma > 0.0 { parameters.reach.unwrap_or(0) } else { 0 };
        let crop = parameters.crop;
        let start = |side: f64, place: f64, crop: usize| {
            let room = side - crop as f64;
            if room >= 0.0 { (place * (room + 1.0)).floor().min(room) } else { (room / 2.0).floor() }
        };
        // The position of the first pixel relative to the centre of the resized image.
        let left = start(new_width, parameters.place[1], crop.width) - margin as f64 + 0.5 - new_width / 2.0;
        let top =
            start(new_height, parameters.place[0], crop.height) - margin as f64 + 0.5 - new_height / 2.0;
        let (sin, cos) = parameters.rotation.to_radians().sin_cos();
        let mirror = if parameters.flip { -1.0 } else { 1.0 };
        let (to_x, to_y) = (mirror * width as f64 / new_width, height as f64 / new_height);
        let (centre_x, centre_y) = (width as f64 / 2.0, height as f64 / 2.0);
        Self {
            size: crop.widened(margin),
            margin,
            width,
            height,
            step: Place { x: fixed(to_x * cos), y: fixed(-to_y * sin) },
            x: [centre_x + to_x * (cos * left + sin * top), to_x * sin],
            y: [centre_y + to_y * (cos * top - sin * left), to_y * cos],
        }
    }

    /// The size of the crop with its margin.
    pub(crate) fn size(&self) -> CropSize {
        self.size
    }

    /// Width of the margin in pixels.
    pub(crate) fn margin(&self) -> usize {
        self.margin
    }

    /// The step from a pixel to the next in its row.
    pub(crate) fn step(&self) -> Place {
        self.step
    }

    /// The position of the pixel at `column` of `row`.
    pub(crate) fn place(&self, column: usize, row: usize) -> Place {
        let at =
            |[start, by_row]: [f64; 2], step: i64| fixed(start + by_row * row as f64) + step * column as i64;
        Place { x: at(self.x, self.step.x), y: at(self.y, self.step.y) }
    }

    /// The columns of `row` inside the source.
    pub(crate) fn inside(&self, row: usize) -> Range<usize> {
        let Place { x, y } = self.place(0, row);
        let across = columns(x, self.step.x, self.width, self.size.width);
        let down = columns(y, self.step.y, self.height, self.size.width);
        let start = across.start.max(down.start);
        start..across.end.min(down.end).max(start)
    }

    /// The source's rows that the crop needs. Empty if the crop lies outside the source.
    pub(crate) fn rows(&self) -> Range<usize> {
        let side = Side::new(self.height);
        let mut rows = self.height..0;
        for row in 0..self.size.height {
            let inside = self.inside(row);
            if let (Some(first), Some(last)) = (inside.clone().next(), inside.last()) {
                for column in [first, last] {
                    let neighbours = side.neighbours(self.place(column, row).y);
                    // A share of 0 or 1 needs only one of the two neighbours, but both are read.
                    rows.start = rows.start.min(neighbours.first);
                    rows.end = rows.end.max(neighbours.second + 1);
                }
            }
        }
        if rows.is_empty() { 0..0 } else { rows }
    }
}

fn fixed(pixels: f64) -> i64 {
    (pixels * ONE as f64).round() as i64
}

/// The columns below `size` for which `start + column * step` is within `pixels`.
fn columns(start: i64, step: i64, pixels: usize, size: usize) -> Range<usize> {
    let end = (pixels as i64) << BITS;
    if step == 0 {
        return if (0..end).contains(&start) { 0..size } else { 0..0 };
    }
    // The first column at or past `border` in the direction of the steps.
    let reaching = |border: i64| {
        let (distance, step) = if step > 0 { (border - start, step) } else { (start - border, -step) };
        let steps = distance.div_euclid(step) + i64::from(distance.rem_euclid(step) > 0);
        steps.clamp(0, size as i64) as usize
    };
    let (enter, leave) = if step > 0 { (0, end) } else { (end - 1, -1) };
    let first = reaching(enter);
    first..reaching(leave).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_inside_are_those_that_one_finds_one_by_one(
            start in -50_i64..50, step in -20_i64..20, pixels in 1_usize..6, size in 0_usize..12,
        ) {
            let (start, step) = (start * (ONE / 7), step * (ONE / 9));
            let inside = |column: &usize| {
                (0..(pixels as i64) << BITS).contains(&(start + *column as i64 * step))
            };
            let expected: Vec<usize> = (0..size).filter(inside).collect();
            let found: Vec<usize> = columns(start, step, pixels, size).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn rows_hold_the_neighbours_of_all_pixels_and_their_ends_are_needed(
            w in 1_usize..40, h in 1_usize..40, seed: u64, index in 0_u64..9,
        ) {
            let config = crate::AugmentationConfig {
                rotation: 180.0, scale: [0.1, 5.0], crop: [16, 21].into(), ..Default::default()
            };
            let affine = Affine::new(w, h, &config.draw(seed, 0, index));
            let mut needed = h..0;
            for row in 0..16 {
                for column in affine.inside(row) {
                    let place = affine.place(column, row);
                    let around = Side::new(h).neighbours(place.y);
                    prop_assert!(whole(place.x) < w && whole(place.y) < h);
                    needed = needed.start.min(around.first)..needed.end.max(around.second + 1);
                }
            }
            prop_assert_eq!(affine.rows(), if needed.is_empty() { 0..0 } else { needed });
        }
    }

    #[test]
    fn neighbours_stop_at_the_outermost_centres() {
        let at = |pixels: usize, coordinate: f64| {
            let Neighbours { first, second, share } = Side::new(pixels).neighbours(fixed(coordinate));
            (first, second, share)
        };
        assert_eq!(at(4, 0.2), (0, 1, 0.0));
        assert_eq!(at(4, 1.75), (1, 2, 0.25));
        assert_eq!(at(4, 3.5), (2, 3, 1.0));
        assert_eq!(at(4, 3.9), (2, 3, 1.0));
        assert_eq!(at(1, 0.9), (0, 0, 0.0));
    }
}
