//! Convolution over a map beside upsampled small ones: products of the small maps' pixels ("positions") with every tap
//! of the kernel, then one matrix of interpolation weights that brings them to the pixels.

use super::convolution::{self, Geometry, block_pixels};
use super::interpolation::positions;
use super::matrix::{Matrix, multiply};
use crate::Alignment;
use rayon::prelude::*;

/// Sizes of the convolution.
#[derive(Clone, Debug)]
pub(crate) struct Pyramid {
    /// Of the map alone.
    pub(crate) plain: Geometry,
    /// Pixels along each side of each small map.
    pub(crate) bins: Vec<usize>,
    /// Channels of each small map.
    pub(crate) level_channels: usize,
    pub(crate) alignment: Alignment,
}

/// One small map: its first position among all, how many it has, and its first channel in the weights.
struct Level {
    start: usize,
    count: usize,
    channel: usize,
}

impl Pyramid {
    pub(crate) fn taps(&self) -> usize {
        self.plain.kernel.iter().product()
    }

    /// Pixels of all small maps of one image.
    pub(crate) fn positions(&self) -> usize {
        self.bins.iter().map(|bins| bins * bins).sum()
    }

    /// Input channels of the weights.
    pub(crate) fn channels(&self) -> usize {
        self.plain.input[2] + self.bins.len() * self.level_channels
    }

    fn levels(&self) -> Vec<Level> {
        let mut start = 0;
        let level = |(index, bins): (usize, &usize)| {
            let count = bins * bins;
            start += count;
            let channel = self.plain.input[2] + index * self.level_channels;
            Level { start: start - count, count, channel }
        };
        self.bins.iter().enumerate().map(level).collect()
    }

    /// The weights (O, KH, KW, all channels) of `count` channels from `first` on, as (O, KH, KW, count).
    fn part(&self, weight: &[f32], first: usize, count: usize) -> Vec<f32> {
        let rows = self.plain.output[2] * self.taps();
        let mut part = vec![0.0; rows * count];
        part.par_chunks_mut(count).zip(weight.par_chunks(self.channels())).for_each(|(part, weight)| {
            part.copy_from_slice(&weight[first..first + count]);
        });
        part
    }

    /// How much of each tap's product at each position reaches each pixel of an image: (pixels, taps, positions).
    pub(crate) fn interpolation(&self) -> Vec<f32> {
        let [height, width, _] = self.plain.input;
        let [kernel_height, kernel_width] = self.plain.kernel;
        let along = |size: usize| -> Vec<_> {
            self.bins.iter().map(|bins| positions(*bins, size, self.alignment)).collect()
        };
        let (rows, columns, levels) = (along(height), along(width), self.levels());
        let size = self.taps() * self.positions();
        let mut matrix = vec![0.0; height * width * size];
        matrix.par_chunks_mut(width * size).enumerate().for_each(|(y, line)| {
            for (x, pixel) in line.chunks_exact_mut(size).enumerate() {
                for (tap, weights) in pixel.chunks_exact_mut(self.positions()).enumerate() {
                    // What the tap reads; outside the map there are zeros.
                    let row = (y + tap / kernel_width).wrapping_sub(kernel_height / 2);
                    let column = (x + tap % kernel_width).wrapping_sub(kernel_width / 2);
                    if row >= height || column >= width {
                        continue;
                    }
                    for (index, level) in levels.iter().enumerate() {
                        let (r, c, bins) = (rows[index][row], columns[index][column], self.bins[index]);
                        for (source_row, share) in [(r.first, 1.0 - r.weight), (r.second, r.weight)] {
                            let start = level.start + source_row * bins;
                            weights[start + c.first] += share * (1.0 - c.weight);
                            weights[start + c.second] += share * c.weight;
                        }
                    }
                }
            }
        });
        matrix
    }
}

/// Output (N, H, W, O) of the map (N, H, W, I), the levels (N, P, L) and the weights (O, KH, KW, I + levels x L).
pub(crate) fn forward(p: &Pyramid, x: &[f32], levels: &[f32], weight: &[f32]) -> Vec<f32> {
    let plain = p.part(weight, 0, p.plain.input[2]);
    let mut out = convolution::forward(&p.plain, x, &plain, None);
    let products = products(p, levels, weight);
    let (pixels, outputs) = (p.plain.input[0] * p.plain.input[1], p.plain.output[2]);
    let rows = p.taps() * p.positions();
    let matrix = p.interpolation();
    let block = block_pixels(pixels);
    for (out, products) in out.chunks_exact_mut(pixels * outputs).zip(products.chunks_exact(rows * outputs)) {
        let products = Matrix::row_major(products, rows, outputs, outputs);
        out.par_chunks_mut(block * outputs).zip(matrix.par_chunks(block * rows)).for_each(|(out, matrix)| {
            let matrix = Matrix::row_major(matrix, out.len() / outputs, rows, rows);
            multiply(out, outputs, matrix, products, true);
        });
    }
    out
}

/// The products of every position with every tap: (N, taps, P, O).
fn products(p: &Pyramid, levels: &[f32], weight: &[f32]) -> Vec<f32> {
    let (taps, positions, channels) = (p.taps(), p.positions(), p.level_channels);
    let (outputs, row) = (p.plain.output[2], p.taps() * p.channels());
    let mut out = vec![0.0; p.plain.batch * taps * positions * outputs];
    out.par_chunks_mut(positions * outputs).enumerate().for_each(|(index, out)| {
        let (image, tap) = (index / taps, index % taps);
        for level in p.levels() {
            let first = (image * positions + level.start) * channels;
            let maps = Matrix::row_major(&levels[first..], level.count, channels, channels);
            let taps = &weight[tap * p.channels() + level.channel..];
            let taps = Matrix::row_major(taps, outputs, channels, row);
            let out = &mut out[level.start * outputs..][..level.count * outputs];
            multiply(out, outputs, maps, taps.transposed(), false);
        }
    });
    out
}

/// Gradient of the map (N, H, W, I).
pub(crate) fn input_gradient(p: &Pyramid, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
    convolution::input_gradient(&p.plain, &p.part(weight, 0, p.plain.input[2]), gradient)
}

/// Gradient of the products (N, taps, P, O).
pub(crate) fn products_gradient(p: &Pyramid, gradient: &[f32]) -> Vec<f32> {
    let (pixels, outputs) = (p.plain.input[0] * p.plain.input[1], p.plain.output[2]);
    let (taps, positions) = (p.taps(), p.positions());
    let matrix = p.interpolation();
    let mut out = vec![0.0; p.plain.batch * taps * positions * outputs];
    out.par_chunks_mut(positions * outputs).enumerate().for_each(|(index, out)| {
        let (image, tap) = (index / taps, index % taps);
        let matrix = Matrix::row_major(&matrix[tap * positions..], pixels, positions, taps * positions);
        let gradient = &gradient[image * pixels * outputs..];
        let gradient = Matrix::row_major(gradient, pixels, outputs, outputs);
        multiply(out, outputs, matrix.transposed(), gradient, false);
    });
    out
}

/// Gradient of the levels (N, P, L) from the weights and the products' gradient.
pub(crate) fn levels_gradient(p: &Pyramid, weight: &[f32], products: &[f32]) -> Vec<f32> {
    let (taps, positions, channels) = (p.taps(), p.positions(), p.level_channels);
    let (outputs, row) = (p.plain.output[2], p.taps() * p.channels());
    let mut out = vec![0.0; p.plain.batch * positions * channels];
    let mut parts = Vec::new();
    let mut rest = &mut out[..];
    for image in 0..p.plain.batch {
        for level in p.levels() {
            let (part, others) = rest.split_at_mut(level.count * channels);
            parts.push((image, level, part));
            rest = others;
        }
    }
    parts.into_par_iter().for_each(|(image, level, out)| {
        for tap in 0..taps {
            let first = ((image * taps + tap) * positions + level.start) * outputs;
            let products = Matrix::row_major(&products[first..], level.count, outputs, outputs);
            let weights = &weight[tap * p.channels() + level.channel..];
            let weights = Matrix::row_major(weights, outputs, channels, row);
            multiply(out, channels, products, weights, tap > 0);
        }
    });
    out
}

/// Gradient of the weights (O, KH, KW, I + levels x L).
pub(crate) fn weight_gradient(
    p: &Pyramid,
    x: &[f32],
    levels: &[f32],
    gradient: &[f32],
    products: &[f32],
) -> Vec<f32> {
    let (taps, positions, channels) = (p.taps(), p.positions(), p.level_channels);
    let (inputs, outputs, all) = (p.plain.input[2], p.plain.output[2], p.channels());
    let plain = convolution::weight_gradient(&p.plain, x, gradient);
    // For every tap, the gradients of all levels' weights: (O, levels x L).
    let width = all - inputs;
    let mut small = vec![0.0; taps * outputs * width];
    small.par_chunks_mut(outputs * width).enumerate().for_each(|(tap, out)| {
        for image in 0..p.plain.batch {
            for level in p.levels() {
                let first = ((image * taps + tap) * positions + level.start) * outputs;
                let products = Matrix::row_major(&products[first..], level.count, outputs, outputs);
                let first = (image * positions + level.start) * channels;
                let maps = Matrix::row_major(&levels[first..], level.count, channels, channels);
                let out = &mut out[level.channel - inputs..];
                multiply(out, width, products.transposed(), maps, image > 0);
            }
        }
    });
    let mut out = vec![0.0; outputs * taps * all];
    out.par_chunks_mut(all).enumerate().for_each(|(index, row)| {
        let (output, tap) = (index / taps, index % taps);
        let (of_map, of_levels) = row.split_at_mut(inputs);
        of_map.copy_from_slice(&plain[index * inputs..][..inputs]);
        of_levels.copy_from_slice(&small[(tap * outputs + output) * width..][..width]);
    });
    out
}
