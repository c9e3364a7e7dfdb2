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
    /// The input pixels under the output pixel, as `row * width + column`, each with its place in
    /// the window.
    fn window(&self, row: usize, column: usize) -> impl Iterator<Item = (u8, usize)> + use<> {
        let [height, width, _] = self.input;
        let (kernel, top, left) = (self.kernel, row * self.stride, column * self.stride);
        let span = |start: usize, size: usize| {
            start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(size)
        };
        let (rows, columns, padding) = (span(top, height), span(left, width), self.padding);
        rows.flat_map(move |y| {
            columns.clone().map(move |x| {
                let tap = (y + padding - top) * kernel + (x + padding - left);
                (tap as u8, y * width + x)
            })
        })
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
    let image = height * width * channels;
    let row = g.output[1] * channels;
    let mut out = vec![f32::NEG_INFINITY; x.len() / image * g.output[0] * row];
    out.par_chunks_mut(row).enumerate().for_each(|(index, out)| {
        let x = &x[index / g.output[0] * image..][..image];
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            for (_, pixel) in g.window(index % g.output[0], column) {
                for (out, value) in out.iter_mut().zip(&x[pixel * channels..]) {
                    if *value > *out || value.is_nan() {
                        *out = *value;
                    }
                }
            }
        }
    });
    out
}

/// Each output's gradient goes to the first largest input of its window.
fn max_pool_gradient(g: &MaxPool, x: &[f32], out: &[f32], gradient: &[f32]) -> Vec<f32> {
    let [height, width, channels] = g.input;
    let (image, row) = (height * width * channels, g.output[1] * channels);
    // The place in its window of each output, row by row of the window.
    let mut found = vec![0_u8; out.len()];
    found.par_chunks_mut(row).zip(out.par_chunks(row)).enumerate().for_each(|(index, (found, out))| {
        let x = &x[index / g.output[0] * image..][..image];
        let values = found.chunks_exact_mut(channels).zip(out.chunks_exact(channels));
        for (column, (found, out)) in values.enumerate() {
            found.fill(u8::MAX);
            for (tap, pixel) in g.window(index % g.output[0], column) {
                for ((found, out), x) in found.iter_mut().zip(out).zip(&x[pixel * channels..]) {
                    let hit = *found == u8::MAX && (x == out || x.is_nan());
                    *found = if hit { tap } else { *found };
                }
            }
        }
    });
    let mut result = vec![0.0; x.len()];
    result.par_chunks_mut(width * channels).enumerate().for_each(|(index, result)| {
        let (image, y) = (index / height, index % height);
        for row in g.rows_over(y) {
            for column in 0..g.output[1] {
                let start = ((image * g.output[0] + row) * g.output[1] + column) * channels;
                let (found, gradient) = (&found[start..][..channels], &gradient[start..][..channels]);
                for (tap, pixel) in g.window(row, column).filter(|(_, pixel)| pixel / width == y) {
                    let result = &mut result[(pixel % width) * channels..][..channels];
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
