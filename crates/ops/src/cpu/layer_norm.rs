//! Layer norm. Rows are pixels, columns are channels.

use super::column_sums::column_sums;
use super::lanes::sum;
use super::sweep::rows_block;
use crate::layer_norm::{LayerNorm, LayerNormGradient, LayerNormParameters};
use crate::operation::{CpuInputs, OnCpu};
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

impl OnCpu<3> for LayerNorm {
    fn compute(&self, [x, weight, bias]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let (x, weight, bias) = (x.slice::<f32>()?, weight.slice()?, bias.slice()?);
        let mut out = vec![0.0; x.len()];
        let block = rows_block(self.channels) * self.channels;
        out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(out, x)| {
            Arch::new().dispatch(Values { out, x, weight, bias, eps: self.eps });
        });
        Ok(CpuStorage::F32(out))
    }
}

impl OnCpu<3> for LayerNormGradient {
    fn compute(&self, [x, weight, gradient]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let (x, weight, gradient) = (x.slice::<f32>()?, weight.slice()?, gradient.slice::<f32>()?);
        let mut out = vec![0.0; x.len()];
        let block = rows_block(self.0.channels) * self.0.channels;
        let inputs = x.par_chunks(block).zip(gradient.par_chunks(block));
        out.par_chunks_mut(block).zip(inputs).for_each(|(out, (x, gradient))| {
            Arch::new().dispatch(InputGradient { out, x, gradient, weight, eps: self.0.eps });
        });
        Ok(CpuStorage::F32(out))
    }
}

impl OnCpu<2> for LayerNormParameters {
    fn compute(&self, [x, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (x, gradient) = (x.slice::<f32>()?, gradient.slice::<f32>()?);
        let LayerNorm { eps, channels } = self.0;
        let totals = column_sums(x.len() / channels, channels, |span, sums| {
            let (x, gradient) = (&x[span.clone()], &gradient[span]);
            Arch::new().dispatch(ParameterGradients { sums, x, gradient, eps });
        });
        Ok(CpuStorage::F32(totals.concat().into_iter().map(|sum| sum as f32).collect()))
    }
}

/// Mean, and one over the square root of variance + eps.
#[inline(always)]
#[allow(clippy::inline_always)]
fn statistics(row: &[f32], eps: f32) -> [f32; 2] {
    let count = row.len() as f32;
    let mean = sum(row, row, |value, _| value) / count;
    let variance = sum(row, row, |value, _| (value - mean) * (value - mean)) / count;
    [mean, 1.0 / (variance + eps).sqrt()]
}

struct Values<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl NullaryFnOnce for Values<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let channels = self.weight.len();
        for (out, x) in self.out.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels)) {
            let [mean, scale] = statistics(x, self.eps);
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *out = ((x - mean) * scale).mul_add(*weight, *bias);
            }
        }
    }
}

struct InputGradient<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    gradient: &'a [f32],
    weight: &'a [f32],
    eps: f32,
}

impl NullaryFnOnce for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let channels = self.weight.len();
        let inputs = self.x.chunks_exact(channels).zip(self.gradient.chunks_exact(channels));
        for (out, (x, gradient)) in self.out.chunks_exact_mut(channels).zip(inputs) {
            let [mean, scale] = statistics(x, self.eps);
            for ((out, gradient), weight) in out.iter_mut().zip(gradient).zip(self.weight) {
                *out = gradient * weight;
            }
            let offset = sum(out, x, |gradient, _| gradient) / channels as f32;
            let slope = sum(out, x, |gradient, x| gradient * (x - mean)) * scale * scale / channels as f32;
            for (out, x) in out.iter_mut().zip(x) {
                *out = scale * (*out - offset - (x - mean) * slope);
            }
        }
    }
}

/// Adds the block of rows to the sums of gradient times normalised input, and of the gradient.
struct ParameterGradients<'a> {
    sums: &'a mut [Vec<f32>; 2],
    x: &'a [f32],
    gradient: &'a [f32],
    eps: f32,
}

impl NullaryFnOnce for ParameterGradients<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let Self { sums: [weight, bias], x, gradient, eps } = self;
        let channels = weight.len();
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            let [mean, scale] = statistics(x, eps);
            let sums = weight.iter_mut().zip(bias.iter_mut());
            for ((x, gradient), (weight, bias)) in x.iter().zip(gradient).zip(sums) {
                *weight += gradient * ((x - mean) * scale);
                *bias += gradient;
            }
        }
    }
}
