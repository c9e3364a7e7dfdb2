//! Batch norm with `ReLU`. Rows are pixels, columns are channels.

use super::column_sums::column_sums;
use super::sweep::rows_block;
use super::vectors::wide;
use crate::batch_norm::{BatchNormRelu, InputGradient, ParameterGradients};
use crate::in_place::UpdateOnCpu;
use crate::operation::{CpuInputs, OnCpu};
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

impl OnCpu<3> for BatchNormRelu {
    fn compute(&self, [x, weight, bias]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let x = x.slice()?;
        let mut out = vec![0.0; x.len()];
        normalise(self, &mut out, x, [weight.slice()?, bias.slice()?])?;
        Ok(CpuStorage::F32(out))
    }
}

impl OnCpu<3> for ParameterGradients<'_> {
    fn compute(&self, [x, gradient, parameters]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let channels = Channels::new(self.0, halves(parameters.slice()?))?;
        Ok(CpuStorage::F32(parameter_gradients(x.slice()?, gradient.slice()?, &channels).concat()))
    }
}

impl UpdateOnCpu<2> for InputGradient<'_> {
    fn update(&self, gradient: &mut [f32], [x, parameters]: CpuInputs<'_, 2>) -> Result<()> {
        let x = x.slice()?;
        let channels = Channels::new(self.norm, halves(parameters.slice()?))?;
        match self.sums {
            Some(sums) => {
                let sums = [sums.get(0)?.to_vec1::<f32>()?, sums.get(1)?.to_vec1::<f32>()?];
                input_gradient_batch(gradient, x, &channels, sums.each_ref().map(Vec::as_slice));
            }
            None => input_gradient_running(gradient, x, &channels),
        }
        Ok(())
    }
}

/// Weight and bias, of which `parameters` (2, C) consist.
pub(super) fn halves(parameters: &[f32]) -> [&[f32]; 2] {
    let (weight, bias) = parameters.split_at(parameters.len() / 2);
    [weight, bias]
}

/// Writes the normalised `x` after the `ReLU` to `out`.
pub(super) fn normalise(
    norm: &BatchNormRelu,
    out: &mut [f32],
    x: &[f32],
    parameters: [&[f32]; 2],
) -> Result<()> {
    let channels = Channels::new(norm, parameters)?;
    scale_shift_relu(out, x, &channels.scale, &channels.shift);
    Ok(())
}

/// A batch norm's values for each channel.
struct Channels {
    mean: Vec<f32>,
    /// Square root of variance + eps.
    deviation: Vec<f32>,
    /// Weight over deviation.
    scale: Vec<f32>,
    /// Bias minus mean times scale.
    shift: Vec<f32>,
}

impl Channels {
    fn new(norm: &BatchNormRelu, [weight, bias]: [&[f32]; 2]) -> Result<Self> {
        let mean = norm.mean.to_vec1::<f32>()?;
        let variance = norm.variance.to_vec1::<f32>()?;
        let deviation: Vec<f32> = variance.iter().map(|v| (v + norm.eps).sqrt()).collect();
        let scale: Vec<f32> = weight.iter().zip(&deviation).map(|(w, d)| w / d).collect();
        // In this form, which is PyTorch's, the sweep takes one multiply-add.
        let shift = bias.iter().zip(&mean).zip(&scale).map(|((bias, mean), scale)| bias - mean * scale);
        let shift = shift.collect();
        Ok(Self { mean, deviation, scale, shift })
    }
}

/// `max(0, x * scale + shift)`.
fn scale_shift_relu(out: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
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

/// The gradients of weight and bias: sums over pixels of the gradient before the `ReLU` times the
/// normalised input, and of that gradient itself.
fn parameter_gradients(x: &[f32], gradient: &[f32], norm: &Channels) -> [Vec<f32>; 2] {
    let channels = norm.mean.len();
    let [bias, weight] = column_sums(x.len() / channels, channels, |span, sums| {
        Arch::new().dispatch(AddParameterGradients {
            sums,
            x: &x[span.clone()],
            gradient: &gradient[span],
            norm,
        });
    });
    let weight = weight.iter().zip(&norm.deviation).map(|(sum, d)| (sum / f64::from(*d)) as f32).collect();
    [weight, bias.into_iter().map(|sum| sum as f32).collect()]
}

/// Adds a block of rows to the sums of [`parameter_gradients`]. A closure of this size would not be
/// inlined and would therefore be compiled for the narrowest vectors.
struct AddParameterGradients<'a> {
    sums: &'a mut [Vec<f32>; 2],
    x: &'a [f32],
    gradient: &'a [f32],
    norm: &'a Channels,
}

impl NullaryFnOnce for AddParameterGradients<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let Self { sums: [bias, weight], x, gradient, norm } = self;
        let channels = norm.mean.len();
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            let per_channel = norm.mean.iter().zip(&norm.scale).zip(&norm.shift);
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

/// Turns the output's gradient into the input's under running statistics: the part that passes the
/// `ReLU`, scaled.
fn input_gradient_running(gradient: &mut [f32], x: &[f32], norm: &Channels) {
    let channels = norm.scale.len();
    let block = rows_block(channels) * channels;
    gradient.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(gradient, x)| {
        wide(|| {
            for (gradient, x) in gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let per_channel = norm.scale.iter().zip(&norm.shift);
                for ((gradient, x), (scale, shift)) in gradient.iter_mut().zip(x).zip(per_channel) {
                    *gradient = if x * scale + shift > 0.0 { *gradient * scale } else { 0.0 };
                }
            }
        });
    });
}

/// Turns the output's gradient into the input's under batch statistics, which depend on the input
/// themselves, given the two results of [`parameter_gradients`].
fn input_gradient_batch(
    gradient: &mut [f32],
    x: &[f32],
    norm: &Channels,
    [weight_gradient, bias_gradient]: [&[f32]; 2],
) {
    let channels = norm.mean.len();
    let rows = (x.len() / channels) as f32;
    // result = scale * (passed - bias_gradient / n - normalised * weight_gradient / n)
    let offset: Vec<f32> = bias_gradient.iter().map(|sum| sum / rows).collect();
    let slopes = weight_gradient.iter().zip(&norm.deviation);
    let slope: Vec<f32> = slopes.map(|(sum, deviation)| sum / rows / deviation).collect();
    let block = rows_block(channels) * channels;
    gradient.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(gradient, x)| {
        wide(|| {
            for (gradient, x) in gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let per_channel =
                    norm.mean.iter().zip(&norm.scale).zip(&norm.shift).zip(offset.iter().zip(&slope));
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
