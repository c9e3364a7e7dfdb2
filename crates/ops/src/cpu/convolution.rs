//! Convolution: matrix products over gathered patches, Winograd's algorithm where it suits, and
//! plain products for 1x1 kernels.

use super::element::{ByElement, Element};
use super::matrix::{Matrix, Output};
use super::patches::{BLOCK, Sampling, block_pixels, correlate, ranges};
use super::phases::{phases, spread, turned_weights};
use super::start::Start;
use super::transpose::transposed;
use super::winograd::{self, Kernels};
use crate::convolution::{Conv2d, Conv2dBias, InputGradient, WeightGradient};
use crate::operation::CpuInputs;
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl ByElement<2> for Conv2d {
    fn compute<T: Element>(&self, [x, weight]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(T::to_cpu_storage_owned(forward(self, x.slice::<T>()?, weight.slice()?, Start::Zero)))
    }
}

impl ByElement<3> for Conv2dBias {
    fn compute<T: Element>(&self, [x, weight, bias]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let start = Start::Bias(bias.slice()?);
        Ok(T::to_cpu_storage_owned(forward(&self.0, x.slice::<T>()?, weight.slice()?, start)))
    }
}

impl ByElement<3> for Conv2d {
    fn compute<T: Element>(&self, [x, weight, residual]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let start = Start::Residual(residual.slice()?);
        Ok(T::to_cpu_storage_owned(forward(self, x.slice::<T>()?, weight.slice()?, start)))
    }
}

impl ByElement<2> for InputGradient {
    fn compute<T: Element>(&self, [weight, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(T::to_cpu_storage_owned(input_gradient(&self.0, weight.slice()?, gradient.slice::<T>()?)))
    }
}

impl ByElement<2> for WeightGradient {
    fn compute<T: Element>(&self, [x, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(weight_gradient::<T>(&self.0, x.slice()?, gradient.slice()?)))
    }
}

/// Target channels below which the weights are read along the patch. For products of no more than
/// some 250 elements, the `gemm` crate then takes dot products in several partial sums, with a half
/// to a third of the error.
const NARROW: usize = 64;

/// `out (rows, n) = start + left (rows, k) x right (k, n)`, parallel over blocks of rows.
fn multiply_rows<T: Element>(out: &mut [T], left: &[T], right: Matrix<'_>, start: Start<'_, T>) {
    let (k, n, right) = (right.rows, right.columns, T::factor(right));
    let block = block_pixels(out.len() / n);
    let blocks = out.par_chunks_mut(block * n).zip(left.par_chunks(block * k)).enumerate();
    blocks.for_each_init(Vec::new, |sums, (index, (out, left))| {
        T::in_f32(out, sums, |out| {
            let accumulate = start.write(out, index * block * n);
            let left = Matrix::row_major(left, left.len() / k, k, k);
            right.multiply(Output { data: out, stride: n, accumulate }, left);
        });
    });
}

/// Output (N, OH, OW, O) of input (N, H, W, I) and weights (O, KH, KW, I), added to `start`.
pub(super) fn forward<T: Element>(conv: &Conv2d, x: &[T], weight: &[f32], start: Start<'_, T>) -> Vec<T> {
    let g = &conv.geometry;
    let (inputs, outputs) = (g.input[2], g.output[2]);
    let patch = g.kernel[0] * g.kernel[1] * inputs;
    if matches!(start, Start::Zero) && winograd::suits(g) {
        return winograd::convolve(g, x, &Kernels { weight, inputs, outputs, backwards: false });
    }
    let turned = (outputs >= NARROW).then(|| transposed(weight, outputs));
    let weights = match &turned {
        Some(turned) => Matrix::row_major(turned, patch, outputs, outputs),
        None => Matrix::row_major(weight, outputs, patch, patch).transposed(),
    };
    let mut out = vec![T::default(); g.batch * g.output.iter().product::<usize>()];
    if g.is_pointwise() {
        multiply_rows(&mut out, x, weights, start);
    } else {
        correlate(&Sampling::forward(g), x, weights, &mut out, start);
    }
    out
}

/// Gradient of the input (N, H, W, I), from the output's gradient and the weights: the forward
/// computation over the output's gradient with the weights turned round, once for each phase of the
/// stride.
pub(super) fn input_gradient<T: Element>(conv: &Conv2d, weight: &[f32], gradient: &[T]) -> Vec<T> {
    let g = &conv.geometry;
    let [height, width, inputs] = g.input;
    let outputs = g.output[2];
    if winograd::suits(g) {
        let kernels = Kernels { weight, inputs: outputs, outputs: inputs, backwards: true };
        return winograd::convolve(g, gradient, &kernels);
    }
    let mut out = vec![T::default(); g.batch * height * width * inputs];
    if g.is_pointwise() {
        let weight = Matrix::row_major(weight, outputs, inputs, inputs);
        multiply_rows(&mut out, gradient, weight, Start::Zero);
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
            correlate(&sampling, gradient, weights, &mut out, Start::Zero);
        } else {
            let mut part = vec![T::default(); sampling.pixels() * inputs];
            correlate(&sampling, gradient, weights, &mut part, Start::Zero);
            spread(g, phase.start, target, &part, &mut out);
        }
    }
    out
}

/// Gradient of the weights (O, KH, KW, I), from the input and the output's gradient.
pub(super) fn weight_gradient<T: Element>(conv: &Conv2d, x: &[T], gradient: &[T]) -> Vec<f32> {
    let g = &conv.geometry;
    if winograd::suits(g) {
        return winograd::weight_gradient(g, x, gradient);
    }
    let outputs = g.output[2];
    let sampling = Sampling::forward(g);
    let (pixels, patch) = (sampling.pixels(), sampling.patch());
    let segments = sampling.segments();
    // Few segments: split the pixels too and add the parts in their order, so that all threads have
    // work.
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
                    buffer.resize(count * columns, T::default());
                    sampling.gather(x, start, segment.clone(), buffer);
                    Matrix::row_major(buffer, count, columns, columns)
                };
                let out = Output { data: &mut product, stride: columns, accumulate: turn > 0 };
                T::own_factor(patches).multiply(out, gradient);
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
