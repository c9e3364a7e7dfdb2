//! Maximum and adaptive average pooling.

use super::vectors::wide;
use crate::operation::{CpuInputs, OnCpu};
use crate::pooling::{AdaptiveAverage, AdaptiveAverageGradient, MaxPool, MaxPoolGradient};
use crate::regions::Regions;
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use std::ops::Range;

impl OnCpu<1> for MaxPool {
    fn compute(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(max_pool(self, x.slice()?)))
    }
}

impl OnCpu<3> for MaxPoolGradient {
    fn compute(&self, [x, out, gradient]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(max_pool_gradient(&self.0, x.slice()?, out.slice()?, gradient.slice()?)))
    }
}

impl OnCpu<1> for AdaptiveAverage {
    fn compute(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(adaptive_average(x.slice()?, &self.0)))
    }
}

impl OnCpu<1> for AdaptiveAverageGradient<'_> {
    fn compute(&self, [gradient]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(adaptive_average_gradient(gradient.slice()?, self.0)))
    }
}

impl MaxPool {
    /// The input rows, for axis 0, or columns, for axis 1, under the output's at `at`.
    fn span(&self, axis: usize, at: usize) -> Range<usize> {
        let start = at * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(self.input[axis])
    }

    /// The place in its window of the input pixel in `row` and `column`, where the window is that of the
    /// output pixel `over`.
    fn tap(&self, [row, column]: [usize; 2], over: [usize; 2]) -> u8 {
        let [down, right] =
            [row + self.padding - over[0] * self.stride, column + self.padding - over[1] * self.stride];
        (down * self.kernel + right) as u8
    }

    /// The output rows whose windows reach input row `y`.
    fn rows_over(&self, y: usize) -> Range<usize> {
        let first = (y + self.padding + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first..((y + self.padding) / self.stride + 1).min(self.output[0])
    }
}

/// Largest value under each window. A NaN counts as the largest.
fn max_pool(g: &MaxPool, x: &[f32]) -> Vec<f32> {
    let [height, width, channels] = g.input;
    let line = width * channels;
    let row = g.output[1] * channels;
    let mut out = vec![f32::NEG_INFINITY; x.len() / (height * line) * g.output[0] * row];
    let work = |largest: &mut Vec<f32>, (index, out): (usize, &mut [f32])| {
        let x = &x[index / g.output[0] * height * line..][..height * line];
        largest.fill(f32::NEG_INFINITY);
        for y in g.span(0, index % g.output[0]) {
            keep_largest(largest, &x[y * line..][..line]);
        }
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            for x in g.span(1, column) {
                keep_largest(out, &largest[x * channels..][..channels]);
            }
        }
    };
    out.par_chunks_mut(row).enumerate().for_each_init(|| vec![0.0; line], work);
    out
}

/// Replaces each of `largest` by its value if that is larger or NaN.
fn keep_largest(largest: &mut [f32], values: &[f32]) {
    for (largest, value) in largest.iter_mut().zip(values) {
        *largest = if *value > *largest || value.is_nan() { *value } else { *largest };
    }
}

/// Each output's gradient goes to the first largest input of its window.
fn max_pool_gradient(g: &MaxPool, x: &[f32], out: &[f32], gradient: &[f32]) -> Vec<f32> {
    let [height, width, channels] = g.input;
    let (image, row_size) = (height * width * channels, g.output[1] * channels);
    // The place in its window of each output, row by row of the window.
    let mut found = vec![u8::MAX; out.len()];
    found.par_chunks_mut(row_size).zip(out.par_chunks(row_size)).enumerate().for_each(
        |(index, (found, out))| {
            let (x, row) = (&x[index / g.output[0] * image..][..image], index % g.output[0]);
            let values = found.chunks_exact_mut(channels).zip(out.chunks_exact(channels));
            for (column, (found, out)) in values.enumerate() {
                // From the last to the first, so that the first one stays.
                for y in g.span(0, row).rev() {
                    for at in g.span(1, column).rev() {
                        let tap = g.tap([y, at], [row, column]);
                        let x = &x[(y * width + at) * channels..][..channels];
                        for ((found, out), x) in found.iter_mut().zip(out).zip(x) {
                            *found = if x == out || x.is_nan() { tap } else { *found };
                        }
                    }
                }
            }
        },
    );
    let mut result = vec![0.0; x.len()];
    result.par_chunks_mut(width * channels).enumerate().for_each(|(index, result)| {
        let (image, y) = (index / height, index % height);
        for row in g.rows_over(y) {
            for column in 0..g.output[1] {
                let start = ((image * g.output[0] + row) * g.output[1] + column) * channels;
                let (found, gradient) = (&found[start..][..channels], &gradient[start..][..channels]);
                for at in g.span(1, column) {
                    let tap = g.tap([y, at], [row, column]);
                    let result = &mut result[at * channels..][..channels];
                    for ((result, found), gradient) in result.iter_mut().zip(found).zip(gradient) {
                        *result += if *found == tap { *gradient } else { 0.0 };
                    }
                }
            }
        }
    });
    result
}

/// Channels that are summed at a time, so that the sums of all regions stay in the cache.
const CHANNELS: usize = 128;

/// Mean over each region, (N, regions, C), with one reading of the map for all levels.
fn adaptive_average(x: &[f32], regions: &Regions) -> Vec<f32> {
    let [height, width, channels] = regions.input;
    let (image, count) = (height * width * channels, regions.count());
    let blocks = channels.div_ceil(CHANNELS);
    let parts: Vec<Vec<f64>> = (0..x.len() / image * blocks)
        .into_par_iter()
        .map(|index| {
            let start = index % blocks * CHANNELS;
            let block = start..(start + CHANNELS).min(channels);
            let mut sums = vec![0.0; count * block.len()];
            let image = &x[index / blocks * image..][..image];
            Arch::new().dispatch(SumRegions { sums: &mut sums, image, block, regions });
            sums
        })
        .collect();
    let mut out = vec![0.0; x.len() / image * count * channels];
    for (image, out) in out.chunks_exact_mut(count * channels).enumerate() {
        for level in &regions.levels {
            for bin in 0..level.bins * level.bins {
                let pixels = level.pixels(bin / level.bins, bin % level.bins) as f64;
                let region = level.start + bin;
                let out = out[region * channels..][..channels].chunks_mut(CHANNELS);
                for (out, sums) in out.zip(&parts[image * blocks..]) {
                    let sums = &sums[region * out.len()..][..out.len()];
                    for (out, sum) in out.iter_mut().zip(sums) {
                        *out = (sum / pixels) as f32;
                    }
                }
            }
        }
    }
    out
}

/// Sums of some channels over every region.
struct SumRegions<'a> {
    /// (regions, channels of the block).
    sums: &'a mut [f64],
    image: &'a [f32],
    block: Range<usize>,
    regions: &'a Regions,
}

impl NullaryFnOnce for SumRegions<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let Self { sums, image, block, regions } = self;
        let [_, width, channels] = regions.input;
        for (y, row) in image.chunks_exact(width * channels).enumerate() {
            for level in &regions.levels {
                for (i, _) in level.rows.iter().enumerate().filter(|(_, rows)| rows.contains(&y)) {
                    for (j, columns) in level.columns.iter().enumerate() {
                        let region = level.start + i * level.bins + j;
                        let sums = &mut sums[region * block.len()..][..block.len()];
                        for x in columns.clone() {
                            let pixel = &row[x * channels..][block.clone()];
                            for (sum, value) in sums.iter_mut().zip(pixel) {
                                *sum += f64::from(*value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every input pixel receives the gradient of each region that contains it, divided by that
/// region's number of pixels.
fn adaptive_average_gradient(gradient: &[f32], regions: &Regions) -> Vec<f32> {
    let [height, width, channels] = regions.input;
    let count = regions.count();
    let images = gradient.len() / (count * channels);
    let mut out = vec![0.0; images * height * width * channels];
    out.par_chunks_mut(width * channels).enumerate().for_each(|(index, out)| {
        let (image, y) = (index / height, index % height);
        for level in &regions.levels {
            for (i, _) in level.rows.iter().enumerate().filter(|(_, rows)| rows.contains(&y)) {
                for (j, columns) in level.columns.iter().enumerate() {
                    let share = 1.0 / level.pixels(i, j) as f32;
                    let region = image * count + level.start + i * level.bins + j;
                    let gradient = &gradient[region * channels..][..channels];
                    let pixels = &mut out[columns.start * channels..columns.end * channels];
                    wide(|| {
                        for pixel in pixels.chunks_exact_mut(channels) {
                            for (out, gradient) in pixel.iter_mut().zip(gradient) {
                                *out += gradient * share;
                            }
                        }
                    });
                }
            }
        }
    });
    out
}
