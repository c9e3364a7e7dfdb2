//! Convolution as matrix products over gathered patches.
//!
//! A patch is the row of all input values that one output pixel sees, tap by tap; a convolution is the product
//! of the patches with the weights. The patches are never built as a whole: [`correlate`] gathers a block of
//! pixels times a segment of at most [`SEGMENT`] values at a time, small enough for the caches, and adds its
//! product to the block's outputs. The input gradient is the same operation over the output gradient with
//! the weights turned round, one for each phase of the stride. A 1x1 convolution needs no gathering.

use super::matrix::{Matrix, multiply};
use super::winograd::{self, Kernels};
use rayon::prelude::*;

/// Values of a patch that are gathered at a time.
const SEGMENT: usize = 512;
/// Target channels below which the weights are read along the patch: where a product has no more than some 250 elements,
/// the `gemm` crate then takes dot products in several partial sums, with a half to a third of the error.
const NARROW: usize = 64;
/// Pixels of a block at most; large enough that preparing the weights for each block costs little.
const BLOCK: usize = 1024;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    /// Input height, width and channels.
    pub(crate) input: [usize; 3],
    /// Output height, width and channels.
    pub(crate) output: [usize; 3],
    /// Kernel height and width.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
}

impl Geometry {
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == 0
    }

    fn forward_sampling(&self) -> Sampling {
        let offset = |k: usize| (k * self.dilation) as isize - self.padding as isize;
        let taps = (0..self.kernel[0])
            .flat_map(|kh| (0..self.kernel[1]).map(move |kw| [offset(kh), offset(kw)]))
            .collect();
        Sampling {
            batch: self.batch,
            source: self.input,
            target: [self.output[0], self.output[1]],
            stride: self.stride,
            taps,
        }
    }
}

/// Which source pixel each target pixel reads for each tap: (row * stride + `tap[0]`, column * stride + `tap[1]`),
/// zero outside.
struct Sampling {
    batch: usize,
    source: [usize; 3],
    target: [usize; 2],
    stride: usize,
    taps: Vec<[isize; 2]>,
}

impl Sampling {
    fn pixels(&self) -> usize {
        self.batch * self.target[0] * self.target[1]
    }

    fn patch(&self) -> usize {
        self.taps.len() * self.source[2]
    }

    /// Gathers the values `segment` of the patches of the target pixels that start at `first` into `out`,
    /// one row a pixel.
    fn gather(&self, source: &[f32], first: usize, segment: std::ops::Range<usize>, out: &mut [f32]) {
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

    fn segments(&self) -> Vec<std::ops::Range<usize>> {
        ranges(self.patch(), self.patch().div_ceil(SEGMENT))
    }
}

/// `0..length` in `parts` ranges of nearly equal length.
fn ranges(length: usize, parts: usize) -> Vec<std::ops::Range<usize>> {
    let size = length.div_ceil(parts.max(1)).max(1);
    (0..length).step_by(size).map(|start| start..(start + size).min(length)).collect()
}

/// Pixels of a block: a function of the sizes alone, never of the number of threads, so that sums are always
/// taken in the same order; an even share of at least eight blocks where that leaves them worthwhile.
pub(crate) fn block_pixels(pixels: usize) -> usize {
    let blocks = pixels.div_ceil(BLOCK).next_multiple_of(8);
    pixels.div_ceil(blocks).max(64)
}

/// `out (pixels, target channels) += patches x weights`, `weights` being (patch, target channels).
fn correlate(sampling: &Sampling, source: &[f32], weights: Matrix<'_>, out: &mut [f32], accumulate: bool) {
    let channels = weights.columns;
    let block = block_pixels(sampling.pixels());
    let segments = sampling.segments();
    out.par_chunks_mut(block * channels).enumerate().for_each_init(Vec::new, |buffer, (index, out)| {
        let pixels = out.len() / channels;
        for (turn, segment) in segments.iter().enumerate() {
            buffer.resize(pixels * segment.len(), 0.0);
            sampling.gather(source, index * block, segment.clone(), buffer);
            let patches = Matrix::row_major(buffer, pixels, segment.len(), segment.len());
            multiply(out, channels, patches, weights.rows(segment), accumulate || turn > 0);
        }
    });
}

/// `out (rows, n) = left (rows, k) x right (k, n)`, parallel over blocks of rows.
fn multiply_rows(out: &mut [f32], left: &[f32], k: usize, right: Matrix<'_>, accumulate: bool) {
    let n = right.columns;
    let block = block_pixels(out.len() / n);
    out.par_chunks_mut(block * n).zip(left.par_chunks(block * k)).for_each(|(out, left)| {
        let left = Matrix::row_major(left, left.len() / k, k, k);
        multiply(out, n, left, right, accumulate);
    });
}

/// Output (N, OH, OW, O) of input (N, H, W, I) and weights (O, KH, KW, I), added to `residual` where there is one.
pub(crate) fn forward(g: &Geometry, x: &[f32], weight: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
    let (inputs, outputs) = (g.input[2], g.output[2]);
    let patch = g.kernel[0] * g.kernel[1] * inputs;
    let turned = (outputs >= NARROW).then(|| transposed(weight, outputs));
    if let Some(data) = &turned
        && residual.is_none()
        && winograd::suits(g)
    {
        let strides = [inputs * outputs, outputs];
        return winograd::convolve(g, x, &Kernels { data, inputs, outputs, strides, backwards: false });
    }
    let weights = match &turned {
        Some(turned) => Matrix::row_major(turned, patch, outputs, outputs),
        None => Matrix::row_major(weight, outputs, patch, patch).transposed(),
    };
    let mut out = match residual {
        Some(residual) => residual.to_vec(),
        None => vec![0.0; g.batch * g.output.iter().product::<usize>()],
    };
    if g.is_pointwise() {
        multiply_rows(&mut out, x, inputs, weights, residual.is_some());
    } else {
        correlate(&g.forward_sampling(), x, weights, &mut out, residual.is_some());
    }
    out
}

/// Gradient of the input (N, H, W, I), from the output's gradient and the weights.
pub(crate) fn input_gradient(g: &Geometry, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
    let [height, width, inputs] = g.input;
    let outputs = g.output[2];
    if winograd::suits(g) {
        let strides = [inputs, 9 * inputs];
        let kernels = Kernels { data: weight, inputs: outputs, outputs: inputs, strides, backwards: true };
        return winograd::convolve(g, gradient, &kernels);
    }
    let mut out = vec![0.0; g.batch * height * width * inputs];
    if g.is_pointwise() {
        let weight = Matrix::row_major(weight, outputs, inputs, inputs);
        multiply_rows(&mut out, gradient, outputs, weight, false);
        return out;
    }
    for phase in phases(g) {
        if phase.taps.is_empty() {
            continue;
        }
        let rows = phase.taps.len() * outputs;
        let turned = turned_weights(g, weight, &phase.taps);
        let narrow = (inputs < NARROW).then(|| transposed(&turned, rows));
        let weights = match &narrow {
            Some(narrow) => Matrix::row_major(narrow, inputs, rows, rows).transposed(),
            None => Matrix::row_major(&turned, rows, inputs, inputs),
        };
        let [rows, columns] = [height, width].map(|size| size.div_ceil(g.stride));
        let target = [
            rows - usize::from(phase.start[0] + (rows - 1) * g.stride >= height),
            columns - usize::from(phase.start[1] + (columns - 1) * g.stride >= width),
        ];
        if target.contains(&0) {
            continue;
        }
        let sampling = Sampling {
            batch: g.batch,
            source: g.output,
            target,
            stride: 1,
            taps: phase.taps.iter().map(|tap| tap.offset).collect(),
        };
        if g.stride == 1 {
            correlate(&sampling, gradient, weights, &mut out, false);
        } else {
            let mut part = vec![0.0; sampling.pixels() * inputs];
            correlate(&sampling, gradient, weights, &mut part, false);
            spread(g, phase.start, target, &part, &mut out);
        }
    }
    out
}

/// The input pixels whose row and column leave the same remainders by the stride, and the taps that reach them.
struct Phase {
    start: [usize; 2],
    taps: Vec<PhaseTap>,
}

struct PhaseTap {
    kernel: [usize; 2],
    /// Output pixel minus the index of the input pixel within its phase.
    offset: [isize; 2],
}

fn phases(g: &Geometry) -> Vec<Phase> {
    let stride = g.stride as isize;
    // Input row i receives from output row o through kernel row k where o * stride + k * dilation - padding = i.
    let reach = |start: usize, k: usize| {
        let distance = (start + g.padding) as isize - (k * g.dilation) as isize;
        (distance.rem_euclid(stride) == 0).then_some(distance.div_euclid(stride))
    };
    let mut phases = Vec::new();
    for top in 0..g.stride.min(g.input[0]) {
        for left in 0..g.stride.min(g.input[1]) {
            let mut taps = Vec::new();
            for kh in 0..g.kernel[0] {
                for kw in 0..g.kernel[1] {
                    if let (Some(dy), Some(dx)) = (reach(top, kh), reach(left, kw)) {
                        taps.push(PhaseTap { kernel: [kh, kw], offset: [dy, dx] });
                    }
                }
            }
            phases.push(Phase { start: [top, left], taps });
        }
    }
    phases
}

/// The weights (rows, columns) as (columns, rows): the product's second factor is read along its rows, and packing it
/// from columns, block after block, would cost more than turning it once.
fn transposed(weights: &[f32], rows: usize) -> Vec<f32> {
    // A tile's rows are whole cache lines, read and written as such: columns of a power of two share a few of the cache's
    // sets, where single elements would push each other out.
    const TILE: usize = 16;
    let columns = weights.len() / rows;
    let mut out = vec![0.0; weights.len()];
    out.par_chunks_mut(TILE * rows).enumerate().for_each(|(index, out)| {
        let first = index * TILE;
        let mut tile = [[0.0; TILE]; TILE];
        for start in (0..rows).step_by(TILE) {
            let count = TILE.min(rows - start);
            for row in 0..count {
                let values = &weights[(start + row) * columns + first..][..out.len() / rows];
                for (tile, value) in tile.iter_mut().zip(values) {
                    tile[row] = *value;
                }
            }
            for (out, tile) in out.chunks_exact_mut(rows).zip(&tile) {
                out[start..start + count].copy_from_slice(&tile[..count]);
            }
        }
    });
    out
}

/// The weights as (taps, O, I).
fn turned_weights(g: &Geometry, weight: &[f32], taps: &[PhaseTap]) -> Vec<f32> {
    let (inputs, outputs) = (g.input[2], g.output[2]);
    let patch = g.kernel[0] * g.kernel[1] * inputs;
    let mut turned = vec![0.0; inputs * taps.len() * outputs];
    turned.par_chunks_mut(outputs * inputs).zip(taps).for_each(|(turned, tap)| {
        let column = (tap.kernel[0] * g.kernel[1] + tap.kernel[1]) * inputs;
        for (turned, weights) in turned.chunks_exact_mut(inputs).zip(weight.chunks_exact(patch)) {
            turned.copy_from_slice(&weights[column..column + inputs]);
        }
    });
    turned
}

/// Writes the pixels of one phase to their places.
fn spread(g: &Geometry, start: [usize; 2], target: [usize; 2], part: &[f32], out: &mut [f32]) {
    let [height, width, channels] = g.input;
    out.par_chunks_mut(height * width * channels)
        .zip(part.par_chunks(target[0] * target[1] * channels))
        .for_each(|(image, part)| {
            for (index, pixel) in part.chunks_exact(channels).enumerate() {
                let y = start[0] + index / target[1] * g.stride;
                let x = start[1] + index % target[1] * g.stride;
                let at = (y * width + x) * channels;
                image[at..at + channels].copy_from_slice(pixel);
            }
        });
}

/// Gradient of the weights (O, KH, KW, I), from the input and the output's gradient.
pub(crate) fn weight_gradient(g: &Geometry, x: &[f32], gradient: &[f32]) -> Vec<f32> {
    if winograd::suits(g) {
        return winograd::weight_gradient(g, x, gradient);
    }
    let outputs = g.output[2];
    let sampling = g.forward_sampling();
    let (pixels, patch) = (sampling.pixels(), sampling.patch());
    let segments = sampling.segments();
    // Few segments: split the pixels too and add the parts in their order, so that all threads have work.
    let parts = ranges(pixels, 8_usize.div_ceil(segments.len()).min(pixels.div_ceil(256)));
    let tasks: Vec<_> =
        segments.iter().flat_map(|segment| parts.iter().map(move |part| (segment, part))).collect();
    let products: Vec<Vec<f32>> = tasks
        .par_iter()
        .map_init(Vec::new, |buffer, &(segment, part)| {
            let columns = segment.len();
            let mut product = vec![0.0; outputs * columns];
            for (turn, start) in part.clone().step_by(BLOCK).enumerate() {
                let count = BLOCK.min(part.end - start);
                let gradient = &gradient[start * outputs..(start + count) * outputs];
                let gradient = Matrix::row_major(gradient, count, outputs, outputs).transposed();
                let patches = if g.is_pointwise() {
                    Matrix::row_major(&x[start * patch + segment.start..], count, columns, patch)
                } else {
                    buffer.resize(count * columns, 0.0);
                    sampling.gather(x, start, segment.clone(), buffer);
                    Matrix::row_major(buffer, count, columns, columns)
                };
                multiply(&mut product, columns, gradient, patches, turn > 0);
            }
            product
        })
        .collect();
    let mut out = vec![0.0; outputs * patch];
    out.par_chunks_mut(patch).enumerate().for_each(|(output, row)| {
        for (&(segment, _), product) in tasks.iter().zip(&products) {
            let columns = segment.len();
            let part = &product[output * columns..(output + 1) * columns];
            for (sum, value) in row[segment.clone()].iter_mut().zip(part) {
                *sum += value;
            }
        }
    });
    out
}
