//! Batch norm with `ReLU`, and the sums over pixels that it needs. Rows are pixels, columns are channels.

use super::elementwise::rows_block;
use super::wide;
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
            wide(|| block_sums(rows, &mut sums));
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
    let [sum] = column_sums(x.len() / channels, channels, |rows, [sum]| {
        for row in x[rows.start * channels..rows.end * channels].chunks_exact(channels) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += value;
            }
        }
    });
    sum.into_iter().map(|sum| sum as f32).collect()
}

/// Mean and biased variance of every channel.
pub(crate) fn statistics(x: &[f32], channels: usize) -> [Vec<f32>; 2] {
    let rows = x.len() / channels;
    let mean: Vec<f32> = {
        let sums = column_sum(x, channels);
        sums.iter().map(|sum| (f64::from(*sum) / rows as f64) as f32).collect()
    };
    // The mean was rounded; the first moment around it corrects for that.
    let [first, second] = column_sums(rows, channels, |rows, [first, second]| {
        for row in x[rows.start * channels..rows.end * channels].chunks_exact(channels) {
            for (((first, second), value), mean) in
                first.iter_mut().zip(second.iter_mut()).zip(row).zip(&mean)
            {
                let distance = value - mean;
                *first += distance;
                *second += distance * distance;
            }
        }
    });
    let rows = rows as f64;
    let variance = first.iter().zip(&second).map(|(a, b)| ((b - a * a / rows) / rows).max(0.0) as f32);
    let variance = variance.collect();
    let mean = mean.iter().zip(&first).map(|(m, a)| (f64::from(*m) + a / rows) as f32).collect();
    [mean, variance]
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

/// Sums over pixels of the gradient behind the `ReLU`, and of its product with the normalised input: the
/// gradients of bias and weight. `out` is the output of the forward pass, whose sign tells where `ReLU` passes.
pub(crate) fn parameter_gradients(
    x: &[f32],
    out: &[f32],
    gradient: &[f32],
    mean: &[f32],
    deviation: &[f32],
) -> [Vec<f32>; 2] {
    let channels = mean.len();
    let [bias, weight] = column_sums(x.len() / channels, channels, |rows, [bias, weight]| {
        let span = rows.start * channels..rows.end * channels;
        let rows = x[span.clone()]
            .chunks_exact(channels)
            .zip(out[span.clone()].chunks_exact(channels))
            .zip(gradient[span].chunks_exact(channels));
        for ((x, out), gradient) in rows {
            for (c, ((bias, weight), mean)) in bias.iter_mut().zip(weight.iter_mut()).zip(mean).enumerate() {
                let passed = if out[c] > 0.0 { gradient[c] } else { 0.0 };
                *bias += passed;
                *weight += passed * (x[c] - mean);
            }
        }
    });
    let weight = weight.iter().zip(deviation).map(|(sum, d)| (sum / f64::from(*d)) as f32).collect();
    [bias.into_iter().map(|sum| sum as f32).collect(), weight]
}

/// Input gradient under running statistics: the gradient behind the `ReLU`, scaled.
pub(crate) fn input_gradient_running(out: &[f32], gradient: &[f32], scale: &[f32]) -> Vec<f32> {
    let channels = scale.len();
    let block = rows_block(channels) * channels;
    let mut result = vec![0.0; out.len()];
    result.par_chunks_mut(block).zip(out.par_chunks(block)).zip(gradient.par_chunks(block)).for_each(
        |((result, out), gradient)| {
            wide(|| {
                let rows = result
                    .chunks_exact_mut(channels)
                    .zip(out.chunks_exact(channels))
                    .zip(gradient.chunks_exact(channels));
                for ((result, out), gradient) in rows {
                    for (((result, out), gradient), scale) in
                        result.iter_mut().zip(out).zip(gradient).zip(scale)
                    {
                        *result = if *out > 0.0 { gradient * scale } else { 0.0 };
                    }
                }
            });
        },
    );
    result
}

/// What the input gradient under batch statistics is made of, one value a channel.
pub(crate) struct BatchGradient<'a> {
    pub(crate) mean: &'a [f32],
    /// Square root of variance + eps.
    pub(crate) deviation: &'a [f32],
    /// Weight over deviation.
    pub(crate) scale: &'a [f32],
    /// The two results of [`parameter_gradients`].
    pub(crate) bias_gradient: &'a [f32],
    pub(crate) weight_gradient: &'a [f32],
}

/// Input gradient under batch statistics, which depend on the input themselves.
pub(crate) fn input_gradient_batch(
    x: &[f32],
    out: &[f32],
    gradient: &[f32],
    channel: &BatchGradient<'_>,
) -> Vec<f32> {
    let channels = channel.mean.len();
    let rows = (x.len() / channels) as f32;
    // result = scale * (passed - bias_gradient / n - normalised * weight_gradient / n)
    let shift: Vec<f32> = channel.bias_gradient.iter().map(|sum| sum / rows).collect();
    let slope: Vec<f32> = channel
        .weight_gradient
        .iter()
        .zip(channel.deviation)
        .map(|(sum, deviation)| sum / rows / deviation)
        .collect();
    let block = rows_block(channels) * channels;
    let mut result = vec![0.0; x.len()];
    result
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(out.par_chunks(block))
        .zip(gradient.par_chunks(block))
        .for_each(|(((result, x), out), gradient)| {
            wide(|| {
                let rows = result
                    .chunks_exact_mut(channels)
                    .zip(x.chunks_exact(channels))
                    .zip(out.chunks_exact(channels))
                    .zip(gradient.chunks_exact(channels));
                for (((result, x), out), gradient) in rows {
                    let per_channel = channel.mean.iter().zip(channel.scale).zip(&shift).zip(&slope);
                    let values = result.iter_mut().zip(x).zip(out).zip(gradient);
                    for ((((result, x), out), gradient), (((mean, scale), shift), slope)) in
                        values.zip(per_channel)
                    {
                        let passed = if *out > 0.0 { *gradient } else { 0.0 };
                        *result = scale * (passed - shift - (x - mean) * slope);
                    }
                }
            });
        });
    result
}
