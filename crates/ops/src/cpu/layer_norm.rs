//! Layer norm. Rows are pixels, columns are channels.

use super::column_sums::column_sums;
use super::element::{ByElement, Element};
use super::lanes::sum;
use super::sweep::rows_block;
use crate::layer_norm::{LayerNorm, LayerNormGradient, LayerNormParameters};
use crate::operation::CpuInputs;
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

impl ByElement<3> for LayerNorm {
    fn compute<T: Element>(&self, [x, weight, bias]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let (x, weight, bias) = (x.slice::<T>()?, weight.slice()?, bias.slice()?);
        let mut out = vec![T::default(); x.len()];
        let block = rows_block(self.channels) * self.channels;
        out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(out, x)| {
            Arch::new().dispatch(Values { out, x, weight, bias, eps: self.eps });
        });
        Ok(T::to_cpu_storage_owned(out))
    }
}

impl ByElement<3> for LayerNormGradient {
    fn compute<T: Element>(&self, [x, weight, gradient]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let (x, weight, gradient) = (x.slice::<T>()?, weight.slice()?, gradient.slice::<T>()?);
        let mut out = vec![T::default(); x.len()];
        let block = rows_block(self.0.channels) * self.0.channels;
        let inputs = x.par_chunks(block).zip(gradient.par_chunks(block));
        out.par_chunks_mut(block).zip(inputs).for_each_init(Vec::new, |sums, (out, (x, gradient))| {
            T::in_f32(out, sums, |out| {
                Arch::new().dispatch(InputGradient { out, x, gradient, weight, eps: self.0.eps });
            });
        });
        Ok(T::to_cpu_storage_owned(out))
    }
}

impl ByElement<2> for LayerNormParameters {
    fn compute<T: Element>(&self, [x, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (x, gradient) = (x.slice::<T>()?, gradient.slice::<T>()?);
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
fn statistics<T: Element>(row: &[T], eps: f32) -> [f32; 2] {
    let count = row.len() as f32;
    let mean = sum(row, row, |value, _| value) / count;
    let variance = sum(row, row, |value, _| (value - mean) * (value - mean)) / count;
    [mean, 1.0 / (variance + eps).sqrt()]
}

struct Values<'a, T> {
    out: &'a mut [T],
    x: &'a [T],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl<T: Element> NullaryFnOnce for Values<'_, T> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let channels = self.weight.len();
        for (out, x) in self.out.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels)) {
            let [mean, scale] = statistics(x, self.eps);
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *out = T::rounded(((x.wide() - mean) * scale).mul_add(*weight, *bias));
            }
        }
    }
}

struct InputGradient<'a, T> {
    out: &'a mut [f32],
    x: &'a [T],
    gradient: &'a [T],
    weight: &'a [f32],
    eps: f32,
}

impl<T: Element> NullaryFnOnce for InputGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let channels = self.weight.len();
        let inputs = self.x.chunks_exact(channels).zip(self.gradient.chunks_exact(channels));
        for (out, (x, gradient)) in self.out.chunks_exact_mut(channels).zip(inputs) {
            let [mean, scale] = statistics(x, self.eps);
            for ((out, gradient), weight) in out.iter_mut().zip(gradient).zip(self.weight) {
                *out = gradient.wide() * weight;
            }
            let offset = sum(out, x, |gradient, _| gradient) / channels as f32;
            let slope = sum(out, x, |gradient, x| gradient * (x - mean)) * scale * scale / channels as f32;
            for (out, x) in out.iter_mut().zip(x) {
                *out = scale * (*out - offset - (x.wide() - mean) * slope);
            }
        }
    }
}

/// Adds the block of rows to the sums of gradient times normalised input, and of the gradient.
struct ParameterGradients<'a, T> {
    sums: &'a mut [Vec<f32>; 2],
    x: &'a [T],
    gradient: &'a [T],
    eps: f32,
}

impl<T: Element> NullaryFnOnce for ParameterGradients<'_, T> {
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
                let gradient = gradient.wide();
                *weight += gradient * ((x.wide() - mean) * scale);
                *bias += gradient;
            }
        }
    }
}
