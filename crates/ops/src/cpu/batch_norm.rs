//! Batch norm with `ReLU`, and the sums over pixels that it needs. Rows are pixels, columns are channels.

use super::elementwise::rows_block;
use super::wide;
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Sums of every column, one vector for each block of rows, added in the order of the blocks.
fn column_sums<const N: usize>(
    rows: usize,
    channels: usize,
    block_sums: impl Fn(std::ops::Range<usize>, &mut [Vec<f32>; N]) + Sync,
) -> [Vec<f64>; N] {
    let block = rows_block(channels).min(256);
    let parts: Vec<[Vec<f32>; N]> = (0..rows.div_ceil(block))
        .into_par_iter()
        .map(|index| {
            let mut sums = std::array::from_fn(|_| vec![0.0; channels]);
            let rows = index * block..((index + 1) * block).min(rows);
            block_sums(rows.start * channels..rows.end * channels, &mut sums);
            sums
        })
        .collect();
    let mut totals = std::array::from_fn(|_| vec![0.0; channels]);
    for part in &parts {
        for (total, part) in totals.iter_mut().zip(part) {
            for (total, value) in total.iter_mut().zip(part) {
                *total += f64::from(*value);
            }
        }
    }
    totals
}

/// Sum over rows.
pub(crate) fn column_sum(x: &[f32], channels: usize) -> Vec<f32> {
    let [sum] = column_sums(x.len() / channels, channels, |span, [sum]| wide(|| add_rows(sum, &x[span])));
    sum.into_iter().map(|sum| sum as f32).collect()
}

// What `wide` runs must be inlined into it, or it is compiled for the narrowest vectors.
#[inline(always)]
#[allow(clippy::inline_always)]
fn add_rows(sum: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(sum.len()) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// Elements of a block whose statistics are taken from the cache: half of a megabyte.
const CACHED: usize = 1 << 17;

/// Mean and biased variance of every channel, in one pass over the memory: a block of rows is read twice, for its mean and
/// its squared distances from that, while it is in the cache, and the blocks are merged in their order (Chan et al. 1979).
pub(crate) fn statistics(x: &[f32], channels: usize) -> [Vec<f32>; 2] {
    let rows = (CACHED / channels).clamp(1, 256);
    let parts: Vec<[Vec<f32>; 3]> = x
        .par_chunks(rows * channels)
        .map(|block| {
            let mut parts = std::array::from_fn(|_| vec![0.0; channels]);
            wide(|| block_moments(block, &mut parts));
            parts
        })
        .collect();
    let (mut mean, mut squares, mut seen) = (vec![0.0_f64; channels], vec![0.0_f64; channels], 0.0);
    for (block, [centre, first, second]) in x.chunks(rows * channels).zip(&parts) {
        let count = (block.len() / channels) as f64;
        let total = seen + count;
        let merged = mean.iter_mut().zip(&mut squares).zip(centre).zip(first.iter().zip(second));
        for (((mean, squares), centre), (first, second)) in merged {
            // The block's mean was rounded; the first moment around it corrects for that.
            let first = f64::from(*first);
            let distance = f64::from(*centre) + first / count - *mean;
            *squares +=
                f64::from(*second) - first * first / count + distance * distance * seen * count / total;
            *mean += distance * count / total;
        }
        seen = total;
    }
    let variance = squares.iter().map(|squares| (squares / seen).max(0.0) as f32).collect();
    [mean.iter().map(|mean| *mean as f32).collect(), variance]
}

/// Of every column of `block`: the mean, rounded, and the sums of the distances from it and of their squares.
#[inline(always)]
#[allow(clippy::inline_always)]
fn block_moments(block: &[f32], [centre, first, second]: &mut [Vec<f32>; 3]) {
    let channels = centre.len();
    add_rows(centre, block);
    let rows = (block.len() / channels) as f32;
    for sum in centre.iter_mut() {
        *sum /= rows;
    }
    for row in block.chunks_exact(channels) {
        let sums = first.iter_mut().zip(second.iter_mut());
        for (((first, second), value), centre) in sums.zip(row).zip(&*centre) {
            let distance = value - centre;
            *first += distance;
            *second += distance * distance;
        }
    }
}

/// `max(0, x * scale + shift)`.
pub(crate) fn scale_shift_relu(out: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
    let channels = scale.len();
    let block = rows_block(channels) * channels;
    out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(out, x)| {
        wide(|| {
            for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (((out, x), scale), shift) in out.iter_mut().zip(x).zip(scale).zip(shift) {
                    *out = (x * scale + shift).max(0.0);
                }
            }
        });
    });
}

/// One value a channel of what a batch norm does.
pub(crate) struct Channels<'a> {
    pub(crate) mean: &'a [f32],
    /// Square root of variance + eps.
    pub(crate) deviation: &'a [f32],
    /// Weight over deviation.
    pub(crate) scale: &'a [f32],
    /// Bias minus mean times scale.
    pub(crate) shift: &'a [f32],
}

/// Sums over pixels of the gradient behind the `ReLU` times the normalised input, and of that gradient itself: the
/// gradients of weight and bias.
pub(crate) fn parameter_gradients(x: &[f32], gradient: &[f32], norm: &Channels<'_>) -> [Vec<f32>; 2] {
    let channels = norm.mean.len();
    let [bias, weight] = column_sums(x.len() / channels, channels, |span, sums| {
        Arch::new().dispatch(AddParameterGradients {
            sums,
            x: &x[span.clone()],
            gradient: &gradient[span],
            norm,
        });
    });
    let weight = weight.iter().zip(norm.deviation).map(|(sum, d)| (sum / f64::from(*d)) as f32).collect();
    [weight, bias.into_iter().map(|sum| sum as f32).collect()]
}

/// Adds what a block of rows has to the sums of [`parameter_gradients`]. A closure of this size would not be inlined, and so be
/// compiled for the narrowest vectors.
struct AddParameterGradients<'a> {
    sums: &'a mut [Vec<f32>; 2],
    x: &'a [f32],
    gradient: &'a [f32],
    norm: &'a Channels<'a>,
}

impl NullaryFnOnce for AddParameterGradients<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let Self { sums: [bias, weight], x, gradient, norm } = self;
        let channels = norm.mean.len();
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            let per_channel = norm.mean.iter().zip(norm.scale).zip(norm.shift);
            let sums = bias.iter_mut().zip(weight.iter_mut());
            for (((x, gradient), ((mean, scale), shift)), (bias, weight)) in
                x.iter().zip(gradient).zip(per_channel).zip(sums)
            {
                let passed = if x * scale + shift > 0.0 { *gradient } else { 0.0 };
                *bias += passed;
                *weight += passed * (x - mean);
            }
        }
    }
}

/// The output's gradient becomes the input's, under running statistics: what passes the `ReLU`, scaled.
pub(crate) fn input_gradient_running(gradient: &mut [f32], x: &[f32], norm: &Channels<'_>) {
    let channels = norm.scale.len();
    let block = rows_block(channels) * channels;
    gradient.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(gradient, x)| {
        wide(|| {
            for (gradient, x) in gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let per_channel = norm.scale.iter().zip(norm.shift);
                for ((gradient, x), (scale, shift)) in gradient.iter_mut().zip(x).zip(per_channel) {
                    *gradient = if x * scale + shift > 0.0 { *gradient * scale } else { 0.0 };
                }
            }
        });
    });
}

/// The output's gradient becomes the input's, under batch statistics, which depend on the input themselves.
/// `parameters` are the two results of [`parameter_gradients`].
pub(crate) fn input_gradient_batch(
    gradient: &mut [f32],
    x: &[f32],
    norm: &Channels<'_>,
    [weight_gradient, bias_gradient]: [&[f32]; 2],
) {
    let channels = norm.mean.len();
    let rows = (x.len() / channels) as f32;
    // result = scale * (passed - bias_gradient / n - normalised * weight_gradient / n)
    let offset: Vec<f32> = bias_gradient.iter().map(|sum| sum / rows).collect();
    let slopes = weight_gradient.iter().zip(norm.deviation);
    let slope: Vec<f32> = slopes.map(|(sum, deviation)| sum / rows / deviation).collect();
    let block = rows_block(channels) * channels;
    gradient.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(gradient, x)| {
        wide(|| {
            for (gradient, x) in gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let per_channel =
                    norm.mean.iter().zip(norm.scale).zip(norm.shift).zip(offset.iter().zip(&slope));
                for ((gradient, x), (((mean, scale), shift), (offset, slope))) in
                    gradient.iter_mut().zip(x).zip(per_channel)
                {
                    let passed = if x * scale + shift > 0.0 { *gradient } else { 0.0 };
                    *gradient = scale * (passed - offset - (x - mean) * slope);
                }
            }
        });
    });
}
