//! Patches of a map, gathered for matrix products.
//!
//! A patch is the row of all input values that one output pixel reads, tap by tap. A convolution is
//! the product of the patches with the weights. The patches are never built as a whole:
//! [`correlate`] gathers one block of pixels times a segment of at most [`SEGMENT`] values at a time,
//! small enough for the caches, and adds its product to the block's outputs.

use super::factor::Factor;
use super::matrix::Matrix;
use super::start::Start;
use crate::arithmetic::Factors;
use crate::geometry::Geometry;
use rayon::prelude::*;
use std::ops::Range;

/// Values of a patch that are gathered at a time.
const SEGMENT: usize = 512;
/// Largest number of pixels in a block, large enough that preparing the weights for each block
/// costs little.
pub(super) const BLOCK: usize = 1024;

/// Which source pixel each target pixel reads for each tap: (row * stride + `tap[0]`, column *
/// stride + `tap[1]`), zero outside.
pub(super) struct Sampling {
    pub(super) batch: usize,
    pub(super) source: [usize; 3],
    pub(super) target: [usize; 2],
    pub(super) stride: usize,
    pub(super) taps: Vec<[isize; 2]>,
}

impl Sampling {
    /// The input pixels of a convolution's output pixels.
    pub(super) fn forward(g: &Geometry) -> Self {
        let offset = |k: usize| (k * g.dilation) as isize - g.padding as isize;
        let taps = (0..g.kernel[0])
            .flat_map(|kh| (0..g.kernel[1]).map(move |kw| [offset(kh), offset(kw)]))
            .collect();
        let target = [g.output[0], g.output[1]];
        Self { batch: g.batch, source: g.input, target, stride: g.stride, taps }
    }

    pub(super) fn pixels(&self) -> usize {
        self.batch * self.target[0] * self.target[1]
    }

    pub(super) fn patch(&self) -> usize {
        self.taps.len() * self.source[2]
    }

    /// Gathers the values `segment` of the patches of the target pixels from `first` on into `out`,
    /// one row per pixel.
    pub(super) fn gather(&self, source: &[f32], first: usize, segment: Range<usize>, out: &mut [f32]) {
        let [height, width, channels] = self.source;
        let row_pixels = self.target[1];
        for (index, row) in out.chunks_exact_mut(segment.len()).enumerate() {
            let pixel = first + index;
            let x = (pixel % row_pixels) * self.stride;
            let y = (pixel / row_pixels % self.target[0]) * self.stride;
            let image = pixel / (row_pixels * self.target[0]);
            let (mut at, mut written) = (segment.start, 0);
            while at < segment.end {
                let (tap, channel) = (at / channels, at % channels);
                let count = (channels - channel).min(segment.end - at);
                let [dy, dx] = self.taps[tap];
                let (sy, sx) = (y as isize + dy, x as isize + dx);
                let piece = &mut row[written..written + count];
                if (0..height as isize).contains(&sy) && (0..width as isize).contains(&sx) {
                    let start = ((image * height + sy as usize) * width + sx as usize) * channels + channel;
                    piece.copy_from_slice(&source[start..start + count]);
                } else {
                    piece.fill(0.0);
                }
                at += count;
                written += count;
            }
        }
    }

    pub(super) fn segments(&self) -> Vec<Range<usize>> {
        ranges(self.patch(), self.patch().div_ceil(SEGMENT))
    }
}

/// `0..length` in `parts` ranges of nearly equal length.
pub(super) fn ranges(length: usize, parts: usize) -> Vec<Range<usize>> {
    let size = length.div_ceil(parts.max(1)).max(1);
    (0..length).step_by(size).map(|start| start..(start + size).min(length)).collect()
}

/// Pixels of a block. They depend on the sizes alone, never on the number of threads, so that sums
/// are always taken in the same order. There are at least eight equal blocks if that leaves them
/// large enough.
pub(super) fn block_pixels(pixels: usize) -> usize {
    let blocks = pixels.div_ceil(BLOCK).next_multiple_of(8);
    pixels.div_ceil(blocks).max(64)
}

/// `out (pixels, target channels) = start + patches x weights`, `weights` being (patch, target
/// channels).
pub(super) fn correlate(
    sampling: &Sampling,
    source: &[f32],
    weights: Matrix<'_>,
    out: &mut [f32],
    start: Start<'_>,
    factors: Factors,
) {
    let channels = weights.columns;
    let block = block_pixels(sampling.pixels());
    let segment = |segment: Range<usize>| (Factor::new(weights.rows(&segment), factors), segment);
    let segments: Vec<_> = sampling.segments().into_iter().map(segment).collect();
    out.par_chunks_mut(block * channels).enumerate().for_each_init(Vec::new, |buffer, (index, out)| {
        let pixels = out.len() / channels;
        let accumulate = start.write(out, index * block * channels);
        for (turn, (weights, segment)) in segments.iter().enumerate() {
            buffer.resize(pixels * segment.len(), 0.0);
            sampling.gather(source, index * block, segment.clone(), buffer);
            let patches = Matrix::row_major(buffer, pixels, segment.len(), segment.len());
            weights.multiply(out, channels, patches, accumulate || turn > 0);
        }
    });
}
