//! Convolution over a pyramid: products of the levels' pixels ("positions") with every tap of the
//! kernel, then one matrix of interpolation weights that brings them to the pixels of the map.

use super::convolution;
use super::matrix::{Matrix, multiply};
use super::patches::block_pixels;
use super::start::Start;
use crate::operation::{CpuInputs, OnCpu};
use crate::pyramid::{InputGradient, LevelsGradient, ProductsGradient, PyramidConvolution, WeightGradient};
use crate::pyramid_geometry::PyramidGeometry;
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl OnCpu<3> for PyramidConvolution {
    fn compute(&self, [x, levels, weight]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(forward(&self.0, x.slice()?, levels.slice()?, weight.slice()?)))
    }
}

impl OnCpu<2> for InputGradient<'_> {
    fn compute(&self, [weight, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let plain = of_channels(self.0, weight.slice()?, 0, self.0.plain.input[2]);
        Ok(CpuStorage::F32(convolution::input_gradient(
            &self.0.plain_convolution(),
            &plain,
            gradient.slice()?,
        )))
    }
}

impl OnCpu<1> for ProductsGradient<'_> {
    // The gradients of levels and weight read it as f32.
    const SUMS: bool = true;

    fn compute(&self, [gradient]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(products_gradient(self.0, gradient.slice()?)))
    }
}

impl OnCpu<2> for LevelsGradient<'_> {
    fn compute(&self, [weight, products]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(levels_gradient(self.0, weight.slice()?, products.slice()?)))
    }
}

impl OnCpu<3> for WeightGradient<'_> {
    const SUMS: bool = true;

    fn compute(&self, [x, levels, gradient]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let products = self.products.flatten_all()?.to_vec1::<f32>()?;
        let (x, levels, gradient) = (x.slice()?, levels.slice()?, gradient.slice()?);
        Ok(CpuStorage::F32(weight_gradient(self.pyramid, x, levels, gradient, &products)))
    }
}

/// The weights (O, KH, KW, all channels) of `count` channels from `first` on, as
/// (O, KH, KW, count).
fn of_channels(p: &PyramidGeometry, weight: &[f32], first: usize, count: usize) -> Vec<f32> {
    let rows = p.plain.output[2] * p.taps();
    let mut part = vec![0.0; rows * count];
    part.par_chunks_mut(count).zip(weight.par_chunks(p.channels())).for_each(|(part, weight)| {
        part.copy_from_slice(&weight[first..first + count]);
    });
    part
}

/// Output (N, H, W, O) of the map (N, H, W, I), the levels (N, P, L) and the weights
/// (O, KH, KW, I + levels x L).
fn forward(p: &PyramidGeometry, x: &[f32], levels: &[f32], weight: &[f32]) -> Vec<f32> {
    let plain = of_channels(p, weight, 0, p.plain.input[2]);
    let mut out = convolution::forward(&p.plain_convolution(), x, &plain, Start::Zero);
    let products = products(p, levels, weight);
    let (pixels, outputs) = (p.plain.input[0] * p.plain.input[1], p.plain.output[2]);
    let rows = p.taps() * p.positions();
    let matrix = p.interpolation();
    let block = block_pixels(pixels);
    for (out, products) in out.chunks_exact_mut(pixels * outputs).zip(products.chunks_exact(rows * outputs)) {
        let products = Matrix::row_major(products, rows, outputs, outputs);
        out.par_chunks_mut(block * outputs).zip(matrix.par_chunks(block * rows)).for_each(|(out, matrix)| {
            let matrix = Matrix::row_major(matrix, out.len() / outputs, rows, rows);
            multiply(out, outputs, matrix, products, true);
        });
    }
    out
}

/// The products of every position with every tap: (N, taps, P, O).
fn products(p: &PyramidGeometry, levels: &[f32], weight: &[f32]) -> Vec<f32> {
    let (taps, positions, channels) = (p.taps(), p.positions(), p.level_channels);
    let (outputs, row) = (p.plain.output[2], p.taps() * p.channels());
    let mut out = vec![0.0; p.plain.batch * taps * positions * outputs];
    out.par_chunks_mut(positions * outputs).enumerate().for_each(|(index, out)| {
        let (image, tap) = (index / taps, index % taps);
        for level in p.levels() {
            let first = (image * positions + level.start) * channels;
            let maps = Matrix::row_major(&levels[first..], level.count, channels, channels);
            let taps = &weight[tap * p.channels() + level.channel..];
            let taps = Matrix::row_major(taps, outputs, channels, row);
            let out = &mut out[level.start * outputs..][..level.count * outputs];
            multiply(out, outputs, maps, taps.transposed(), false);
        }
    });
    out
}

/// Gradient of the products (N, taps, P, O).
fn products_gradient(p: &PyramidGeometry, gradient: &[f32]) -> Vec<f32> {
    let (pixels, outputs) = (p.plain.input[0] * p.plain.input[1], p.plain.output[2]);
    let (taps, positions) = (p.taps(), p.positions());
    let matrix = p.interpolation();
    let mut out = vec![0.0; p.plain.batch * taps * positions * outputs];
    out.par_chunks_mut(positions * outputs).enumerate().for_each(|(index, out)| {
        let (image, tap) = (index / taps, index % taps);
        let matrix = Matrix::row_major(&matrix[tap * positions..], pixels, positions, taps * positions);
        let gradient = &gradient[image * pixels * outputs..];
        let gradient = Matrix::row_major(gradient, pixels, outputs, outputs);
        multiply(out, outputs, matrix.transposed(), gradient, false);
    });
    out
}

/// Gradient of the levels (N, P, L) from the weights and the products' gradient.
fn levels_gradient(p: &PyramidGeometry, weight: &[f32], products: &[f32]) -> Vec<f32> {
    let (taps, positions, channels) = (p.taps(), p.positions(), p.level_channels);
    let (outputs, row) = (p.plain.output[2], p.taps() * p.channels());
    let mut out = vec![0.0; p.plain.batch * positions * channels];
    let mut parts = Vec::new();
    let mut rest = &mut out[..];
    for image in 0..p.plain.batch {
        for level in p.levels() {
            let (part, others) = rest.split_at_mut(level.count * channels);
            parts.push((image, level, part));
            rest = others;
        }
    }
    parts.into_par_iter().for_each(|(image, level, out)| {
        for tap in 0..taps {
            let first = ((image * taps + tap) * positions + level.start) * outputs;
            let products = Matrix::row_major(&products[first..], level.count, outputs, outputs);
            let weights = &weight[tap * p.channels() + level.channel..];
            let weights = Matrix::row_major(weights, outputs, channels, row);
            multiply(out, channels, products, weights, tap > 0);
        }
    });
    out
}

/// Gradient of the weights (O, KH, KW, I + levels x L).
fn weight_gradient(
    p: &PyramidGeometry,
    x: &[f32],
    levels: &[f32],
    gradient: &[f32],
    products: &[f32],
) -> Vec<f32> {
    let (taps, positions, channels) = (p.taps(), p.positions(), p.level_channels);
    let (inputs, outputs, all) = (p.plain.input[2], p.plain.output[2], p.channels());
    let plain = convolution::weight_gradient(&p.plain_convolution(), x, gradient);
    // For every tap, the gradients of all levels' weights: (O, levels x L).
    let width = all - inputs;
    let mut small = vec![0.0; taps * outputs * width];
    small.par_chunks_mut(outputs * width).enumerate().for_each(|(tap, out)| {
        for image in 0..p.plain.batch {
            for level in p.levels() {
                let first = ((image * taps + tap) * positions + level.start) * outputs;
                let products = Matrix::row_major(&products[first..], level.count, outputs, outputs);
                let first = (image * positions + level.start) * channels;
                let maps = Matrix::row_major(&levels[first..], level.count, channels, channels);
                let out = &mut out[level.channel - inputs..];
                multiply(out, width, products.transposed(), maps, image > 0);
            }
        }
    });
    let mut out = vec![0.0; outputs * taps * all];
    out.par_chunks_mut(all).enumerate().for_each(|(index, row)| {
        let (output, tap) = (index / taps, index % taps);
        let (of_map, of_levels) = row.split_at_mut(inputs);
        of_map.copy_from_slice(&plain[index * inputs..][..inputs]);
        of_levels.copy_from_slice(&small[(tap * outputs + output) * width..][..width]);
    });
    out
}
