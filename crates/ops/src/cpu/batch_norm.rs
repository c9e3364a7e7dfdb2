//! Batch norm with its activation. Rows are pixels, columns are channels.

use super::column_sums::column_sums;
use super::element::{ByElement, Element, UpdateByElement};
use super::sweep::{BLOCK, rows_block};
use super::vectors::wide;
use crate::batch_norm::{
    Activation, InputGradient, Normalisation, ParameterGradients, ReluGradient, ResidualNorm,
};
use crate::operation::{CpuInputs, Input};
use candle_core::{CpuStorage, Error, Result, Tensor};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

impl ByElement<3> for Normalisation {
    fn compute<T: Element>(&self, [x, weight, bias]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let x = x.slice::<T>()?;
        let mut out = vec![T::default(); x.len()];
        normalise(self, &mut out, x, [weight.slice()?, bias.slice()?])?;
        Ok(T::to_cpu_storage_owned(out))
    }
}

impl UpdateByElement<2> for Normalisation {
    fn update<T: Element>(&self, x: &mut [T], [weight, bias]: CpuInputs<'_, 2>) -> Result<()> {
        let channels = Channels::new(self, [weight.slice()?, bias.slice()?])?;
        match self.activation {
            Activation::Relu => scale_shift_in_place::<_, true>(x, &channels),
            Activation::Identity => scale_shift_in_place::<_, false>(x, &channels),
        }
        Ok(())
    }
}

impl ByElement<3> for ResidualNorm {
    fn compute<T: Element>(&self, [x, parameters, residual]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let x = x.slice::<T>()?;
        let channels = Channels::new(&self.0, halves(parameters.slice()?))?;
        let mut out = vec![T::default(); x.len()];
        scale_shift_add_relu(&mut out, [x, residual.slice()?], &channels);
        Ok(T::to_cpu_storage_owned(out))
    }
}

impl UpdateByElement<2> for ResidualNorm {
    fn update<T: Element>(&self, x: &mut [T], [parameters, residual]: CpuInputs<'_, 2>) -> Result<()> {
        let channels = Channels::new(&self.0, halves(parameters.slice()?))?;
        scale_shift_add_relu_in_place(x, residual.slice()?, &channels);
        Ok(())
    }
}

impl ByElement<2> for ReluGradient {
    fn compute<T: Element>(&self, [output, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (output, mut passed) = (output.slice::<T>()?, gradient.slice::<T>()?.to_vec());
        passed.par_chunks_mut(BLOCK).zip(output.par_chunks(BLOCK)).for_each(|(passed, output)| {
            wide(|| {
                for (passed, output) in passed.iter_mut().zip(output) {
                    *passed = if output.wide() > 0.0 { *passed } else { T::default() };
                }
            });
        });
        Ok(T::to_cpu_storage_owned(passed))
    }
}

impl ByElement<3> for ParameterGradients<'_> {
    fn compute<T: Element>(&self, [x, gradient, parameters]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let channels = Channels::new(self.0, halves(parameters.slice()?))?;
        let (x, gradient) = (x.slice::<T>()?, gradient.slice()?);
        let both = match self.0.activation {
            Activation::Relu => parameter_gradients::<_, true>(x, gradient, &channels),
            Activation::Identity => parameter_gradients::<_, false>(x, gradient, &channels),
        };
        Ok(CpuStorage::F32(both.concat()))
    }
}

impl UpdateByElement<2> for InputGradient<'_> {
    fn update<T: Element>(&self, gradient: &mut [T], [x, parameters]: CpuInputs<'_, 2>) -> Result<()> {
        let x = x.slice()?;
        let channels = Channels::new(self.norm, halves(parameters.slice()?))?;
        let sums = self.sums.map(|sums| Ok::<_, Error>([sums.get(0)?.to_vec1()?, sums.get(1)?.to_vec1()?]));
        let sums: Option<[Vec<f32>; 2]> = sums.transpose()?;
        let sums = sums.as_ref().map(|sums| sums.each_ref().map(Vec::as_slice));
        let found = self.found.map(Tensor::storage_and_layout);
        let found =
            found.as_ref().and_then(|(storage, layout)| Input { storage: &**storage, layout }.on_cpu());
        let found = found.map(Input::slice).transpose()?;
        match (self.norm.activation, sums) {
            (Activation::Relu, Some(sums)) => {
                input_gradient_batch::<_, true>(gradient, x, &channels, sums, found);
            }
            (Activation::Identity, Some(sums)) => {
                input_gradient_batch::<_, false>(gradient, x, &channels, sums, found);
            }
            (Activation::Relu, None) => input_gradient_running::<_, true>(gradient, x, &channels, found),
            (Activation::Identity, None) => input_gradient_running::<_, false>(gradient, x, &channels, found),
        }
        Ok(())
    }
}

/// Weight and bias, of which `parameters` (2, C) consist.
pub(super) fn halves(parameters: &[f32]) -> [&[f32]; 2] {
    let (weight, bias) = parameters.split_at(parameters.len() / 2);
    [weight, bias]
}

/// Writes the normalised `x` after the activation to `out`.
pub(super) fn normalise<T: Element>(
    norm: &Normalisation,
    out: &mut [T],
    x: &[T],
    parameters: [&[f32]; 2],
) -> Result<()> {
    let channels = Channels::new(norm, parameters)?;
    match norm.activation {
        Activation::Relu => scale_shift::<_, true>(out, x, &channels),
        Activation::Identity => scale_shift::<_, false>(out, x, &channels),
    }
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
    fn new(norm: &Normalisation, [weight, bias]: [&[f32]; 2]) -> Result<Self> {
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

/// `x * scale + shift`, and with `RELU` the larger of that and 0.
fn scale_shift<T: Element, const RELU: bool>(out: &mut [T], x: &[T], norm: &Channels) {
    let Channels { scale, shift, .. } = norm;
    let channels = scale.len();
    let block = rows_block(channels) * channels;
    out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(out, x)| {
        wide(|| {
            for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (((out, x), scale), shift) in out.iter_mut().zip(x).zip(scale).zip(shift) {
                    let normalised = x.wide() * scale + shift;
                    *out = T::rounded(if RELU { normalised.max(0.0) } else { normalised });
                }
            }
        });
    });
}

/// [`scale_shift`] with `x` as its output.
fn scale_shift_in_place<T: Element, const RELU: bool>(x: &mut [T], norm: &Channels) {
    let channels = norm.scale.len();
    x.par_chunks_mut(rows_block(channels) * channels).for_each(|x| {
        wide(|| {
            for x in x.chunks_exact_mut(channels) {
                for ((x, scale), shift) in x.iter_mut().zip(&norm.scale).zip(&norm.shift) {
                    let normalised = x.wide() * scale + shift;
                    *x = T::rounded(if RELU { normalised.max(0.0) } else { normalised });
                }
            }
        });
    });
}

/// [`scale_shift_add_relu`] with `x` as its output.
fn scale_shift_add_relu_in_place<T: Element>(x: &mut [T], residual: &[T], norm: &Channels) {
    let channels = norm.scale.len();
    let block = rows_block(channels) * channels;
    x.par_chunks_mut(block).zip(residual.par_chunks(block)).for_each(|(x, residual)| {
        wide(|| {
            for (x, residual) in x.chunks_exact_mut(channels).zip(residual.chunks_exact(channels)) {
                let per_channel = norm.scale.iter().zip(&norm.shift);
                for ((x, residual), (scale, shift)) in x.iter_mut().zip(residual).zip(per_channel) {
                    *x = T::rounded((x.wide() * scale + shift + residual.wide()).max(0.0));
                }
            }
        });
    });
}

/// `max(0, x * scale + shift + residual)`.
fn scale_shift_add_relu<T: Element>(out: &mut [T], [x, residual]: [&[T]; 2], norm: &Channels) {
    let channels = norm.scale.len();
    let block = rows_block(channels) * channels;
    let inputs = x.par_chunks(block).zip(residual.par_chunks(block));
    out.par_chunks_mut(block).zip(inputs).for_each(|(out, (x, residual))| {
        wide(|| {
            let rows = x.chunks_exact(channels).zip(residual.chunks_exact(channels));
            for (out, (x, residual)) in out.chunks_exact_mut(channels).zip(rows) {
                let per_channel = norm.scale.iter().zip(&norm.shift);
                for (((out, x), residual), (scale, shift)) in
                    out.iter_mut().zip(x).zip(residual).zip(per_channel)
                {
                    *out = T::rounded((x.wide() * scale + shift + residual.wide()).max(0.0));
                }
            }
        });
    });
}

/// The gradients of weight and bias: sums over pixels of the gradient before the `ReLU`, if there
/// is one, times the normalised input, and of that gradient itself.
fn parameter_gradients<T: Element, const RELU: bool>(
    x: &[T],
    gradient: &[T],
    norm: &Channels,
) -> [Vec<f32>; 2] {
    let channels = norm.mean.len();
    let [bias, weight] = column_sums(x.len() / channels, channels, |span, sums| {
        Arch::new().dispatch(AddParameterGradients::<T, RELU> {
            sums,
            x: &x[span.clone()],
            gradient: &gradient[span],
            norm,
        });
    });
    let weight = weight.iter().zip(&norm.deviation).map(|(sum, d)| (sum / f64::from(*d)) as f32).collect();
    [weight, bias.into_iter().map(|sum| sum as f32).collect()]
}

/// Adds the block of rows to the sums of [`parameter_gradients`]. A closure of this size would not be
/// inlined and would therefore be compiled for the narrowest vectors.
struct AddParameterGradients<'a, T, const RELU: bool> {
    sums: &'a mut [Vec<f32>; 2],
    x: &'a [T],
    gradient: &'a [T],
    norm: &'a Channels,
}

impl<T: Element, const RELU: bool> NullaryFnOnce for AddParameterGradients<'_, T, RELU> {
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
                let x = x.wide();
                let passed = if !RELU || x * scale + shift > 0.0 { gradient.wide() } else { 0.0 };
                *bias += passed;
                *weight += passed * (x - mean);
            }
        }
    }
}

/// Adds block number `index` of `found`, if there is one, to `gradient`, which the caches hold.
fn add_found<T: Element>(gradient: &mut [T], found: Option<&[T]>, index: usize, block: usize) {
    if let Some(found) = found {
        for (gradient, found) in gradient.iter_mut().zip(&found[index * block..]) {
            *gradient = T::rounded(gradient.wide() + found.wide());
        }
    }
}

/// Turns the output's gradient into the input's under running statistics: the part that passes the
/// `ReLU`, if there is one, scaled. Adds `found`.
fn input_gradient_running<T: Element, const RELU: bool>(
    gradient: &mut [T],
    x: &[T],
    norm: &Channels,
    found: Option<&[T]>,
) {
    let channels = norm.scale.len();
    let block = rows_block(channels) * channels;
    gradient.par_chunks_mut(block).zip(x.par_chunks(block)).enumerate().for_each(|(index, (gradient, x))| {
        wide(|| {
            for (gradient, x) in gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let per_channel = norm.scale.iter().zip(&norm.shift);
                for ((gradient, x), (scale, shift)) in gradient.iter_mut().zip(x).zip(per_channel) {
                    let passes = !RELU || x.wide() * scale + shift > 0.0;
                    *gradient = T::rounded(if passes { gradient.wide() * scale } else { 0.0 });
                }
            }
            add_found(gradient, found, index, block);
        });
    });
}

/// Turns the output's gradient into the input's under batch statistics, which depend on the input
/// themselves, given the two results of [`parameter_gradients`]. Adds `found`.
fn input_gradient_batch<T: Element, const RELU: bool>(
    gradient: &mut [T],
    x: &[T],
    norm: &Channels,
    [weight_gradient, bias_gradient]: [&[f32]; 2],
    found: Option<&[T]>,
) {
    let channels = norm.mean.len();
    let rows = (x.len() / channels) as f32;
    // result = scale * (passed - bias_gradient / n - normalised * weight_gradient / n)
    let offset: Vec<f32> = bias_gradient.iter().map(|sum| sum / rows).collect();
    let slopes = weight_gradient.iter().zip(&norm.deviation);
    let slope: Vec<f32> = slopes.map(|(sum, deviation)| sum / rows / deviation).collect();
    let block = rows_block(channels) * channels;
    gradient.par_chunks_mut(block).zip(x.par_chunks(block)).enumerate().for_each(|(index, (gradient, x))| {
        wide(|| {
            for (gradient, x) in gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let per_channel =
                    norm.mean.iter().zip(&norm.scale).zip(&norm.shift).zip(offset.iter().zip(&slope));
                for ((gradient, x), (((mean, scale), shift), (offset, slope))) in
                    gradient.iter_mut().zip(x).zip(per_channel)
                {
                    let x = x.wide();
                    let passed = if !RELU || x * scale + shift > 0.0 { gradient.wide() } else { 0.0 };
                    *gradient = T::rounded(scale * (passed - offset - (x - mean) * slope));
                }
            }
            add_found(gradient, found, index, block);
        });
    });
}
