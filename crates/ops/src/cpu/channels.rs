//! Arithmetic on each channel.

use super::element::{ByElement, Element};
use super::sweep::{Pixel, rows_block};
use crate::channels::{AddBias, Normalise, NormaliseGradient, ScaleChannels, ScaleRows};
use crate::operation::{CpuInputs, OnCpu};
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl OnCpu<1> for Normalise {
    fn compute(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        let pixels = self.size[0] * self.size[1];
        Ok(CpuStorage::F32(match x.storage {
            CpuStorage::F64(_) => normalise::<f64>(x.slice()?, pixels, &self.mean, &self.std),
            _ => normalise::<f32>(x.slice()?, pixels, &self.mean, &self.std),
        }))
    }
}

impl OnCpu<1> for NormaliseGradient<'_> {
    fn compute(&self, [gradient]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        let pixels = self.0.size[0] * self.0.size[1];
        Ok(CpuStorage::F32(normalise_gradient(gradient.slice()?, pixels, &self.0.std)))
    }
}

impl ByElement<2> for ScaleChannels {
    fn compute<T: Element>(&self, [x, scale]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(T::to_cpu_storage_owned(scale_channels::<T>(x.slice()?, scale.slice()?, x.dims()[0])))
    }
}

impl OnCpu<2> for ScaleRows {
    fn compute(&self, [x, scale]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (x, scale) = (x.slice::<f32>()?, scale.slice::<f32>()?);
        let rows = x.chunks_exact(x.len() / scale.len()).zip(scale);
        let scaled = rows.flat_map(|(row, scale)| row.iter().map(move |value| value * scale));
        Ok(CpuStorage::F32(scaled.collect()))
    }
}

impl ByElement<2> for AddBias {
    fn compute<T: Element>(&self, [x, bias]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(T::to_cpu_storage_owned(add_bias::<T>(x.slice()?, bias.slice()?)))
    }
}

/// `x + bias` along the last axis.
fn add_bias<T: Element>(x: &[T], bias: &[f32]) -> Vec<T> {
    let mut out = vec![T::default(); x.len()];
    let block = rows_block(bias.len()) * bias.len();
    out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(out, x)| {
        for (out, x) in out.chunks_exact_mut(bias.len()).zip(x.chunks_exact(bias.len())) {
            for ((out, x), bias) in out.iter_mut().zip(x).zip(bias) {
                *out = T::rounded(x.wide() + bias);
            }
        }
    });
    out
}

/// `x` (N, pixels, C) times `scale` (N, C).
fn scale_channels<T: Element>(x: &[T], scale: &[f32], images: usize) -> Vec<T> {
    let (image, channels) = (x.len() / images, scale.len() / images);
    let mut out = x.to_vec();
    out.par_chunks_mut(image).zip(scale.par_chunks(channels)).for_each(|(image, scale)| {
        image.par_chunks_mut(rows_block(channels) * channels).for_each(|block| {
            for row in block.chunks_exact_mut(channels) {
                for (value, scale) in row.iter_mut().zip(scale) {
                    *value = T::rounded(value.wide() * scale);
                }
            }
        });
    });
    out
}

/// Normalised image, (N, C, H, W) to (N, H, W, C): `(x - mean) / std`, rounded to f32.
fn normalise<T: Pixel>(x: &[T], pixels: usize, mean: &[f32], std: &[f32]) -> Vec<f32> {
    let channels = mean.len();
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(pixels * channels).zip(x.par_chunks(pixels * channels)).for_each(|(out, x)| {
        for (channel, plane) in x.chunks_exact(pixels).enumerate() {
            let (mean, std) = (T::from(mean[channel]), T::from(std[channel]));
            for (pixel, value) in out.chunks_exact_mut(channels).zip(plane) {
                pixel[channel] = ((*value - mean) / std).rounded();
            }
        }
    });
    out
}

/// Gradient of [`normalise`]: (N, H, W, C) to (N, C, H, W), divided by `std`.
fn normalise_gradient(gradient: &[f32], pixels: usize, std: &[f32]) -> Vec<f32> {
    let channels = std.len();
    let mut out = vec![0.0; gradient.len()];
    out.par_chunks_mut(pixels).enumerate().for_each(|(plane, out)| {
        let (image, channel) = (plane / channels, plane % channels);
        let gradient = &gradient[image * pixels * channels..(image + 1) * pixels * channels];
        for (value, pixel) in out.iter_mut().zip(gradient.chunks_exact(channels)) {
            *value = pixel[channel] / std[channel];
        }
    });
    out
}
