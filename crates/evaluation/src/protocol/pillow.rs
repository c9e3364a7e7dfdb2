//! Resampling of bytes with the results of Pillow.
//!
//! Pillow interpolates along rows, then along columns, rounds to 8 bits after each, and widens its
//! filter where an image shrinks.

/// Bits after the point of a weight.
const PRECISION: u32 = 22;

/// The source positions that a target position averages: the first one, and the weights.
struct Taps {
    first: usize,
    weights: Vec<i64>,
}

/// The taps of a triangular filter for each of `target` positions among `source` ones.
fn taps(source: usize, target: usize) -> Vec<Taps> {
    let scale = source as f64 / target as f64;
    let support = scale.max(1.0);
    let at = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(source);
        let weight = |at: usize| (1.0 - ((at as f64 - centre + 0.5) / support).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| (0.5 + weight / sum * f64::from(1 << PRECISION)) as i64;
        Taps { first, weights: weights.into_iter().map(fixed).collect() }
    };
    (0..target).map(at).collect()
}

/// The weighted sum of `values`, rounded to 8 bits.
fn rounded(taps: &Taps, values: impl Iterator<Item = u8>) -> u8 {
    let half = 1_i64 << (PRECISION - 1);
    let sum =
        taps.weights.iter().zip(values).fold(half, |sum, (weight, value)| sum + weight * i64::from(value));
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// RGB `pixels` of `source` height and width, interpolated to those of `target`. The result is
/// that of Pillow's `resize` with `BILINEAR`.
pub(super) fn bilinear(pixels: &[u8], source: [usize; 2], target: [usize; 2]) -> Vec<u8> {
    let [height, width] = source;
    let columns = taps(width, target[1]);
    let mut wide = Vec::with_capacity(height * target[1] * 3);
    for row in pixels.chunks(3 * width) {
        for taps in &columns {
            wide.extend((0..3).map(|channel| {
                rounded(taps, row[3 * taps.first..].iter().skip(channel).step_by(3).copied())
            }));
        }
    }
    let line = 3 * target[1];
    let mut out = Vec::with_capacity(target[0] * line);
    for taps in taps(height, target[0]) {
        let column = |at: usize| wide[taps.first * line..].iter().skip(at).step_by(line).copied();
        out.extend((0..line).map(|at| rounded(&taps, column(at))));
    }
    out
}

/// The `labels` of `source` height and width at the nearest pixels for `target` ones.
pub(super) fn nearest(labels: &[u8], source: [usize; 2], target: [usize; 2]) -> Vec<u8> {
    let positions = |axis: usize| {
        let step = source[axis] as f64 / target[axis] as f64;
        (0..target[axis]).map(move |at| (((at as f64 + 0.5) * step) as usize).min(source[axis] - 1))
    };
    let columns: Vec<usize> = positions(1).collect();
    let row = |row: usize| columns.iter().map(move |&column| labels[row * source[1] + column]);
    positions(0).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_its_own_size_is_unchanged() {
        let pixels: Vec<u8> = (0..3 * 5 * 4).map(|value| (value * 37 % 256) as u8).collect();
        assert_eq!(bilinear(&pixels, [5, 4], [5, 4]), pixels);
        assert_eq!(nearest(&pixels[..20], [5, 4], [5, 4]), pixels[..20]);
    }

    #[test]
    fn a_shrinking_image_is_averaged_and_labels_are_not() {
        // Two columns to one: the filter covers both.
        assert_eq!(bilinear(&[0, 10, 20, 100, 110, 120], [1, 2], [1, 1]), [50, 60, 70]);
        assert_eq!(nearest(&[3, 7], [1, 2], [1, 1]), [7]);
        assert_eq!(nearest(&[3, 7], [1, 2], [1, 4]), [3, 3, 7, 7]);
    }
}
