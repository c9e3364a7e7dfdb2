//! Patches of a map, gathered for matrix products.
//!
//! A patch is the row of all input values that one output pixel reads, tap by tap. A convolution is
//! the product of the patches with the weights. The patches are never built as a whole:
//! [`correlate`] gathers one block of pixels times a segment of at most [`SEGMENT`] values at a time,
//! small enough for the caches, and adds its product to the block's outputs.

use super::element::Element;
use super::matrix::{Matrix, Output};
use super::start::Start;
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

/// Values of a patch that are consecutive in a row of the source.
struct Run {
    /// The row, from the target pixel's on.
    row: isize,
    /// The first value in the row, from the target pixel's own first value on.
    start: isize,
    count: usize,
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
    pub(super) fn gather<T: Element>(
        &self,
        source: &[T],
        first: usize,
        segment: Range<usize>,
        out: &mut [T],
    ) {
        let [height, width, channels] = self.source;
        let line = width * channels;
        let runs = self.runs(&segment);
        let [rows, columns] = self.target;
        let (mut column, mut row) = (first % columns, first / columns % rows);
        let mut image = first / (columns * rows);
        for patch in out.chunks_exact_mut(segment.len()) {
            let mut rest = patch;
            for run in &runs {
                let (piece, after) = rest.split_at_mut(run.count);
                rest = after;
                let y = (row * self.stride) as isize + run.row;
                if !(0..height as isize).contains(&y) {
                    piece.fill(T::default());
                    continue;
                }
                let source = &source[(image * height + y as usize) * line..][..line];
                let start = (column * self.stride * channels) as isize + run.start;
                // Zeros stand for what lies outside the row.
                let count = run.count as isize;
                let left = (-start).clamp(0, count) as usize;
                let right = (line as isize - start).clamp(left as isize, count) as usize;
                piece[..left].fill(T::default());
                if left < right {
                    let from = (start + left as isize) as usize;
                    piece[left..right].copy_from_slice(&source[from..from + right - left]);
                }
                piece[right..].fill(T::default());
            }
            column += 1;
            if column == columns {
                (column, row) = (0, row + 1);
            }
            if row == rows {
                (row, image) = (0, image + 1);
            }
        }
    }

    /// The values `segment` of a patch, in runs that are consecutive in the source. Taps that are next to
    /// each other in a row are one run.
    fn runs(&self, segment: &Range<usize>) -> Vec<Run> {
        let channels = self.source[2];
        let mut runs: Vec<Run> = Vec::new();
        let mut at = segment.start;
        while at < segment.end {
            let (tap, channel) = (at / channels, at % channels);
            let count = (channels - channel).min(segment.end - at);
            let [row, column] = self.taps[tap];
            let start = column * channels as isize + channel as isize;
            match runs.last_mut() {
                Some(last) if last.row == row && last.start + last.count as isize == start => {
                    last.count += count;
                }
                _ => runs.push(Run { row, start, count }),
            }
            at += count;
        }
        runs
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
pub(super) fn correlate<T: Element>(
    sampling: &Sampling,
    source: &[T],
    weights: Matrix<'_>,
    out: &mut [T],
    start: Start<'_, T>,
) {
    let channels = weights.columns;
    let block = block_pixels(sampling.pixels());
    let segment = |segment: Range<usize>| (T::factor(weights.rows(&segment)), segment);
    let segments: Vec<_> = sampling.segments().into_iter().map(segment).collect();
    let buffers = || (Vec::new(), Vec::new());
    let blocks = out.par_chunks_mut(block * channels).enumerate();
    blocks.for_each_init(buffers, |(patches, sums), (index, out)| {
        let pixels = out.len() / channels;
        T::in_f32(out, sums, |out| {
            let accumulate = start.write(out, index * block * channels);
            for (turn, (weights, segment)) in segments.iter().enumerate() {
                patches.resize(pixels * segment.len(), T::default());
                sampling.gather(source, index * block, segment.clone(), patches);
                let patches = Matrix::row_major(patches, pixels, segment.len(), segment.len());
                let accumulate = accumulate || turn > 0;
                weights.multiply(Output { data: &mut *out, stride: channels, accumulate }, patches);
            }
        });
    });
}
