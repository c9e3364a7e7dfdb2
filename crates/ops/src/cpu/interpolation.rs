//! Bilinear interpolation along one axis at a time.

use crate::Alignment;
use rayon::prelude::*;

/// The two source positions that one target position lies between, and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Between {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) weight: f32,
}

/// For each of `target` positions, where it lies among `source` positions.
pub(crate) fn positions(source: usize, target: usize, alignment: Alignment) -> Vec<Between> {
    let (last, targets) = ((source - 1) as f64, target as f64);
    (0..target)
        .map(|index| {
            let index = index as f64;
            let at = match alignment {
                Alignment::HalfPixel => (index + 0.5) * source as f64 / targets - 0.5,
                Alignment::AlignCorners if target > 1 => index * last / (targets - 1.0),
                Alignment::AlignCorners => 0.0,
            };
            let at = at.clamp(0.0, last);
            let first = at as usize;
            Between { first, second: (first + 1).min(source - 1), weight: (at - first as f64) as f32 }
        })
        .collect()
}

/// `out = (1 - weight) * first + weight * second`.
pub(crate) fn mix(out: &mut [f32], first: &[f32], second: &[f32], weight: f32) {
    for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
        *out = first + weight * (second - first);
    }
}

/// `sum += weight * values`.
pub(crate) fn add_scaled(sum: &mut [f32], values: &[f32], weight: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

/// Sizes of an upsampling.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    pub(crate) source: [usize; 2],
    pub(crate) target: [usize; 2],
    pub(crate) channels: usize,
    pub(crate) alignment: Alignment,
}

impl Resize {
    fn positions(&self) -> [Vec<Between>; 2] {
        [0, 1].map(|axis| positions(self.source[axis], self.target[axis], self.alignment))
    }
}

/// (N, h, w, C) to (N, H, W, C).
pub(crate) fn resize(r: &Resize, x: &[f32]) -> Vec<f32> {
    let [rows, columns] = r.positions();
    let source_row = r.source[1] * r.channels;
    let target_row = r.target[1] * r.channels;
    let images = x.len() / (r.source[0] * source_row);
    let mut out = vec![0.0; images * r.target[0] * target_row];
    out.par_chunks_mut(target_row).enumerate().for_each_init(
        || vec![0.0; source_row],
        |line, (index, out)| {
            let start = index / r.target[0] * r.source[0];
            let row = rows[index % r.target[0]];
            let source = |row: usize| &x[(start + row) * source_row..][..source_row];
            mix(line, source(row.first), source(row.second), row.weight);
            for (out, at) in out.chunks_exact_mut(r.channels).zip(&columns) {
                let pixel = |column: usize| &line[column * r.channels..][..r.channels];
                mix(out, pixel(at.first), pixel(at.second), at.weight);
            }
        },
    );
    out
}

/// The transpose of [`resize`]: (N, H, W, C) to (N, h, w, C).
pub(crate) fn resize_gradient(r: &Resize, gradient: &[f32]) -> Vec<f32> {
    let [rows, columns] = r.positions();
    let source_row = r.source[1] * r.channels;
    let target_row = r.target[1] * r.channels;
    let images = gradient.len() / (r.target[0] * target_row);
    let mut out = vec![0.0; images * r.source[0] * source_row];
    out.par_chunks_mut(source_row).enumerate().for_each_init(
        || vec![0.0; target_row],
        |line, (index, out)| {
            let (image, source) = (index / r.source[0], index % r.source[0]);
            line.fill(0.0);
            for (target, row) in rows.iter().enumerate() {
                let mut weight = 0.0;
                if row.first == source {
                    weight += 1.0 - row.weight;
                }
                if row.second == source {
                    weight += row.weight;
                }
                if weight != 0.0 {
                    let start = (image * r.target[0] + target) * target_row;
                    add_scaled(line, &gradient[start..start + target_row], weight);
                }
            }
            for (value, at) in line.chunks_exact(r.channels).zip(&columns) {
                let mut pixel = |column: usize, weight| {
                    add_scaled(&mut out[column * r.channels..][..r.channels], value, weight);
                };
                pixel(at.first, 1.0 - at.weight);
                pixel(at.second, at.weight);
            }
        },
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pixel_centres_repeat_the_border() {
        let at = positions(2, 4, Alignment::HalfPixel);
        let values: Vec<f32> = at.iter().map(|p| p.first as f32 + p.weight).collect();
        assert_eq!(values, [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn aligned_corners_keep_the_corners() {
        let at = positions(3, 5, Alignment::AlignCorners);
        let values: Vec<f32> = at.iter().map(|p| p.first as f32 + p.weight).collect();
        assert_eq!(values, [0.0, 0.5, 1.0, 1.5, 2.0]);
    }
}
