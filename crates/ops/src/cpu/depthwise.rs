//! Depthwise convolution: one output row at a time, sixteen channels next to each other, several
//! pixels at once where the whole kernel lies inside the input.

use super::element::{ByElement, Element};
use super::taps::{PIXELS, Taps};
use crate::depthwise::{Depthwise, DepthwiseInputGradient, DepthwiseWeightGradient};
use crate::geometry::Geometry;
use crate::operation::CpuInputs;
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Channels that are computed together.
const LANES: usize = 16;
/// Most parts into which the rows are cut for the weights' gradient.
const PARTS: usize = 16;

impl ByElement<3> for Depthwise {
    fn compute<T: Element>(&self, [x, weight, bias]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let channels = self.0.output[2];
        let weights = by_tap(weight.slice()?, channels);
        let taps = [0, 1].map(|axis| Taps::forward(&self.0, axis));
        let (x, bias) = (x.slice::<T>()?, bias.slice()?);
        Ok(T::to_cpu_storage_owned(sweep(&taps, self.0.batch, x, &weights, Some(bias), channels)))
    }
}

impl ByElement<2> for DepthwiseInputGradient {
    fn compute<T: Element>(&self, [gradient, weight]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let channels = self.0.output[2];
        // The taps of `Taps::backward` run in reverse.
        let mut weights = by_tap(weight.slice()?, channels);
        let (mut front, mut back) = (0, weights.len() / channels - 1);
        while front < back {
            let (head, tail) = weights.split_at_mut(back * channels);
            head[front * channels..][..channels].swap_with_slice(&mut tail[..channels]);
            (front, back) = (front + 1, back - 1);
        }
        let taps = [0, 1].map(|axis| Taps::backward(&self.0, axis));
        let gradient = gradient.slice::<T>()?;
        Ok(T::to_cpu_storage_owned(sweep(&taps, self.0.batch, gradient, &weights, None, channels)))
    }
}

impl ByElement<2> for DepthwiseWeightGradient {
    fn compute<T: Element>(&self, [x, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(weight_gradient::<T>(&self.0, x.slice()?, gradient.slice()?)))
    }
}

/// The weights (C, taps) as (taps, C).
fn by_tap(weight: &[f32], channels: usize) -> Vec<f32> {
    let taps = weight.len() / channels;
    let mut out = vec![0.0; weight.len()];
    for (channel, kernel) in weight.chunks_exact(taps).enumerate() {
        for (tap, value) in kernel.iter().enumerate() {
            out[tap * channels + channel] = *value;
        }
    }
    out
}

/// Every target pixel's sum over its taps of weight times source pixel, plus `bias`.
fn sweep<T: Element>(
    [rows, columns]: &[Taps; 2],
    images: usize,
    x: &[T],
    weights: &[f32],
    bias: Option<&[f32]>,
    channels: usize,
) -> Vec<T> {
    let (height, width) = (rows.targets(), columns.targets());
    let image = x.len() / images;
    let mut out = vec![T::default(); images * height * width * channels];
    out.par_chunks_mut(width * channels).enumerate().for_each_init(Vec::new, |sums, (index, out)| {
        let x = &x[index / height * image..][..image];
        let rows = rows.of(index % height);
        T::in_f32(out, sums, |out| {
            Arch::new().dispatch(Row { out, x, weights, bias, rows, columns, channels });
        });
    });
    out
}

/// One row of targets. A closure would not be inlined and would therefore be compiled for the
/// narrowest vectors.
struct Row<'a, T> {
    out: &'a mut [f32],
    x: &'a [T],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    /// Tap and source row of each inner row of the kernel.
    rows: &'a [[usize; 2]],
    columns: &'a Taps,
    channels: usize,
}

impl<T: Element> NullaryFnOnce for Row<'_, T> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(mut self) {
        let whole = self.channels / LANES * LANES;
        for channel in (0..whole).step_by(LANES) {
            let mut target = 0;
            while target < self.columns.targets() {
                if let Some(first) = self.columns.run(target) {
                    self.run(channel, target, first);
                    target += PIXELS;
                } else {
                    self.pixel(channel, target);
                    target += 1;
                }
            }
        }
        for target in 0..self.columns.targets() {
            for channel in whole..self.channels {
                self.element(channel, target);
            }
        }
    }
}

impl<T: Element> Row<'_, T> {
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn start(&self, channel: usize) -> [f32; LANES] {
        self.bias.map_or([0.0; LANES], |bias| lanes(bias, channel))
    }

    /// [`PIXELS`] targets whose kernels are inside, the first one's from source column `first` on.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn run(&mut self, channel: usize, target: usize, first: usize) {
        let (channels, kernel) = (self.channels, self.columns.kernel);
        let mut sums = [self.start(channel); PIXELS];
        for [tap, row] in self.rows {
            let source = &self.x[(row * self.columns.sources + first) * channels + channel..];
            let weights = &self.weights[tap * kernel * channels + channel..];
            for column in 0..kernel {
                let weight = lanes(weights, column * channels);
                for (pixel, sum) in sums.iter_mut().enumerate() {
                    let values = lanes(source, (pixel + column) * channels);
                    for lane in 0..LANES {
                        sum[lane] = weight[lane].mul_add(values[lane], sum[lane]);
                    }
                }
            }
        }
        for (pixel, sum) in sums.iter().enumerate() {
            self.out[(target + pixel) * channels + channel..][..LANES].copy_from_slice(sum);
        }
    }

    /// One target with the taps that are inside.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn pixel(&mut self, channel: usize, target: usize) {
        let (channels, kernel) = (self.channels, self.columns.kernel);
        let mut sum = self.start(channel);
        for [tap, row] in self.rows {
            for [column_tap, column] in self.columns.of(target) {
                let values = lanes(self.x, (row * self.columns.sources + column) * channels + channel);
                let weight = lanes(self.weights, (tap * kernel + column_tap) * channels + channel);
                for lane in 0..LANES {
                    sum[lane] = weight[lane].mul_add(values[lane], sum[lane]);
                }
            }
        }
        self.out[target * channels + channel..][..LANES].copy_from_slice(&sum);
    }

    /// One channel of one target, where there are fewer than [`LANES`] of them left.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn element(&mut self, channel: usize, target: usize) {
        let (channels, kernel) = (self.channels, self.columns.kernel);
        let mut sum = self.bias.map_or(0.0, |bias| bias[channel]);
        for [tap, row] in self.rows {
            for [column_tap, column] in self.columns.of(target) {
                let value = self.x[(row * self.columns.sources + column) * channels + channel].wide();
                sum = self.weights[(tap * kernel + column_tap) * channels + channel].mul_add(value, sum);
            }
        }
        self.out[target * channels + channel] = sum;
    }
}

/// The [`LANES`] values from `start` on.
#[inline(always)]
#[allow(clippy::inline_always)]
fn lanes<T: Element>(values: &[T], start: usize) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    for (lane, value) in lanes.iter_mut().zip(&values[start..start + LANES]) {
        *lane = value.wide();
    }
    lanes
}

/// Gradient of the weights (C, KH, KW, 1), from the input and the output's gradient. The rows of
/// the output are cut into parts by their number alone, whose sums are added in their order.
fn weight_gradient<T: Element>(g: &Geometry, x: &[T], gradient: &[T]) -> Vec<f32> {
    let [rows, columns] = [0, 1].map(|axis| Taps::forward(g, axis));
    let (height, channels) = (g.output[0], g.output[2]);
    let (line, image) = (g.output[1] * channels, x.len() / g.batch);
    let block = (g.batch * height).div_ceil(PARTS);
    let parts: Vec<Vec<f32>> = gradient
        .par_chunks(block * line)
        .enumerate()
        .map(|(part, gradient)| {
            let mut sums = vec![0.0; g.kernel[0] * g.kernel[1] * channels];
            for (index, gradient) in gradient.chunks_exact(line).enumerate() {
                let index = part * block + index;
                let x = &x[index / height * image..][..image];
                let rows = rows.of(index % height);
                let sums = &mut sums;
                Arch::new().dispatch(WeightRow { sums, x, gradient, rows, columns: &columns, channels });
            }
            sums
        })
        .collect();
    let taps = g.kernel[0] * g.kernel[1];
    let mut out = vec![0.0; channels * taps];
    out.par_chunks_mut(taps).enumerate().for_each(|(channel, out)| {
        for (tap, out) in out.iter_mut().enumerate() {
            let values = parts.iter().map(|part| f64::from(part[tap * channels + channel]));
            *out = values.sum::<f64>() as f32;
        }
    });
    out
}

/// Adds one row of the output's gradient to the sums (taps, C).
struct WeightRow<'a, T> {
    sums: &'a mut [f32],
    x: &'a [T],
    gradient: &'a [T],
    rows: &'a [[usize; 2]],
    columns: &'a Taps,
    channels: usize,
}

impl<T: Element> NullaryFnOnce for WeightRow<'_, T> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let Self { sums, x, gradient, rows, columns, channels } = self;
        for [tap, row] in rows {
            let sums = &mut sums[tap * columns.kernel * channels..][..columns.kernel * channels];
            let x = &x[row * columns.sources * channels..][..columns.sources * channels];
            for (target, gradient) in gradient.chunks_exact(channels).enumerate() {
                for [tap, column] in columns.of(target) {
                    let sums = &mut sums[tap * channels..][..channels];
                    let x = &x[column * channels..][..channels];
                    for ((sum, x), gradient) in sums.iter_mut().zip(x).zip(gradient) {
                        *sum = x.wide().mul_add(gradient.wide(), *sum);
                    }
                }
            }
        }
    }
}
