//! The sizes of a convolution over a pyramid, and the weights that bring its levels to the pixels.

use crate::arithmetic::Arithmetic;
use crate::convolution::Conv2d;
use crate::geometry::Geometry;
use crate::resize::{Alignment, positions};
use rayon::prelude::*;

/// All sizes of a convolution over a map and upsampled small maps, the levels.
#[derive(Clone, Debug)]
pub(crate) struct PyramidGeometry {
    /// Of the map alone.
    pub(crate) plain: Geometry,
    /// Of the convolution of the map. The products of the small levels are exact on the CPU.
    pub(crate) arithmetic: Arithmetic,
    /// Pixels along each side of each level.
    pub(crate) bins: Vec<usize>,
    /// Channels of each level.
    pub(crate) level_channels: usize,
    pub(crate) alignment: Alignment,
}

/// One level.
pub(crate) struct Level {
    /// Its first position among those of all levels.
    pub(crate) start: usize,
    /// The number of its positions.
    pub(crate) count: usize,
    /// Its first channel in the weights.
    pub(crate) channel: usize,
}

impl PyramidGeometry {
    /// The convolution of the map alone.
    pub(crate) fn plain_convolution(&self) -> Conv2d {
        Conv2d { geometry: self.plain, arithmetic: self.arithmetic }
    }

    /// Taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.plain.kernel.iter().product()
    }

    /// Pixels of all levels of one image.
    pub(crate) fn positions(&self) -> usize {
        self.bins.iter().map(|bins| bins * bins).sum()
    }

    /// Input channels of the weights.
    pub(crate) fn channels(&self) -> usize {
        self.plain.input[2] + self.bins.len() * self.level_channels
    }

    pub(crate) fn levels(&self) -> Vec<Level> {
        let mut start = 0;
        let level = |(index, bins): (usize, &usize)| {
            let count = bins * bins;
            start += count;
            let channel = self.plain.input[2] + index * self.level_channels;
            Level { start: start - count, count, channel }
        };
        self.bins.iter().enumerate().map(level).collect()
    }

    /// How much of each tap's product at each position reaches each pixel of an image: (pixels,
    /// taps, positions).
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
                    // The pixel that the tap reads. Outside the map there are zeros.
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
