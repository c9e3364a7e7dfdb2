//! Convolution over a pyramid: products of the levels with every tap of the kernel, then one matrix of
//! interpolation weights that brings them to the pixels.

use super::convolution::{self, Epilogue};
use super::element::Element;
use super::memory::{room, storage_of, stored};
use super::product::{Operand, Sizes, gemm};
use super::rearrange::{Arrangement, rearrange};
use super::recordings::{is_recording, moved};
use crate::operation::{GpuInputs, Input, OnGpu};
use crate::pyramid::{InputGradient, LevelsGradient, ProductsGradient, PyramidConvolution, WeightGradient};
use crate::pyramid_geometry::{Level, PyramidGeometry};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};
use candle_core::{CudaDevice, CudaStorage, DType, Device, Layout, Result, Tensor, bail};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

impl OnGpu<3> for PyramidConvolution {
    fn compute<T: Element>(&self, [x, levels, weight]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let (p, device) = (&self.0, x.storage.device());
        let (images, pixels, outputs) = sizes(p);
        let (levels, rows) = (levels.view::<T>()?, rows(p));
        // The products of every position with every tap, (N, taps, P, O), with rows of zeros at the end.
        let mut products = device.alloc_zeros::<T>(images * rows * outputs)?;
        for level in p.levels() {
            let maps = maps(p, device, &levels, &level)?;
            let mut by_position = room::<T>(device, images * level.count * outputs * p.taps())?;
            let sizes = Sizes {
                rows: images * level.count,
                inner: p.level_channels,
                columns: outputs * p.taps(),
                batch: 1,
            };
            let kernel = kernel::<T>(p, weight, &level)?;
            let result = Operand::rows([outputs * p.taps(), 0]);
            let maps = (&maps.slice(..), Operand::rows([p.level_channels, 0]));
            let kernel = (&kernel, Operand::rows([p.channels(), 0]).flipped());
            gemm(
                device,
                sizes,
                [maps, kernel],
                (&mut by_position.slice_mut(..), result),
                0.0,
                p.arithmetic.factors,
            )?;
            let arrangement = taps_first(p, &level, rows);
            let mut place = products.slice_mut(level.start * outputs..);
            rearrange(device, &by_position.slice(..), arrangement, &mut place)?;
        }
        let mut upsampled = room::<T>(device, images * pixels * outputs)?;
        let shares = interpolation(p, &Device::Cuda(device.clone()), T::TYPE)?;
        let (shares, layout) = shares.storage_and_layout();
        let shares = Input { storage: storage_of(&shares, "conv2d_pyramid")?, layout }.view::<T>()?;
        gemm(
            device,
            Sizes { rows: pixels, inner: rows, columns: outputs, batch: images },
            [
                (&shares, Operand::rows([rows, 0])),
                (&products.slice(..), Operand::rows([outputs, rows * outputs])),
            ],
            (&mut upsampled.slice_mut(..), Operand::rows([outputs, pixels * outputs])),
            0.0,
            p.arithmetic.factors,
        )?;
        let (upsampled, plain) = (stored(upsampled, device), plain_weight::<T>(p, weight)?);
        let upsampled = Input { storage: &upsampled, layout: &Layout::contiguous(p.plain.output_shape()) };
        let plain = Input { storage: &plain, layout: &Layout::contiguous(p.plain.weight_shape()) };
        convolution::output::<T>(&p.plain_convolution(), x, plain, Some(Epilogue::Add(upsampled)))
    }
}

impl OnGpu<2> for InputGradient<'_> {
    fn compute<T: Element>(&self, [weight, gradient]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let plain = plain_weight::<T>(self.0, weight)?;
        let plain = Input { storage: &plain, layout: &Layout::contiguous(self.0.plain.weight_shape()) };
        convolution::input_gradient::<T>(&self.0.plain_convolution(), plain, gradient)
    }
}

impl OnGpu<1> for ProductsGradient<'_> {
    fn compute<T: Element>(&self, [gradient]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (p, device) = (self.0, gradient.storage.device());
        let (images, pixels, outputs) = sizes(p);
        let products = p.taps() * p.positions();
        let shares = interpolation(p, &Device::Cuda(device.clone()), T::TYPE)?;
        let (shares, layout) = shares.storage_and_layout();
        let shares = Input { storage: storage_of(&shares, "conv2d_pyramid")?, layout }.view::<T>()?;
        let mut out = room::<T>(device, images * products * outputs)?;
        gemm(
            device,
            Sizes { rows: products, inner: pixels, columns: outputs, batch: images },
            [
                (&shares, Operand::rows([rows(p), 0]).flipped()),
                (&gradient.view::<T>()?, Operand::rows([outputs, pixels * outputs])),
            ],
            (&mut out.slice_mut(..), Operand::rows([outputs, products * outputs])),
            0.0,
            p.arithmetic.factors,
        )?;
        Ok(stored(out, device))
    }
}

impl OnGpu<2> for LevelsGradient<'_> {
    fn compute<T: Element>(&self, [weight, products]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (p, device) = (self.0, weight.storage.device());
        let (images, length) = (p.plain.batch, p.plain.output[2] * p.taps());
        let (all, channels) = (p.positions() * p.level_channels, p.level_channels);
        let mut out = room::<T>(device, images * all)?;
        for level in p.levels() {
            let by_position = taps_last(p, device, &products.view::<T>()?, &level)?;
            let kernel = kernel::<T>(p, weight, &level)?;
            let mut place = out.slice_mut(level.start * channels..);
            gemm(
                device,
                Sizes { rows: level.count, inner: length, columns: channels, batch: images },
                [
                    (&by_position.slice(..), Operand::rows([length, level.count * length])),
                    (&kernel, Operand::rows([p.channels(), 0])),
                ],
                (&mut place, Operand::rows([channels, all])),
                0.0,
                p.arithmetic.factors,
            )?;
        }
        Ok(stored(out, device))
    }
}

impl OnGpu<3> for WeightGradient<'_> {
    fn compute<T: Element>(&self, [x, levels, gradient]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let (p, device) = (self.pyramid, x.storage.device());
        let (rows, channels) = (p.plain.output[2] * p.taps(), p.channels());
        let mut out = room::<T>(device, rows * channels)?;
        let plain = convolution::weight_gradient::<T>(&p.plain_convolution(), x, gradient)?;
        let inputs = p.plain.input[2];
        let columns = Arrangement::columns(rows, inputs, inputs, channels);
        rearrange(device, &plain.as_cuda_slice::<T>()?.slice(..), columns, &mut out.slice_mut(..))?;
        let (products, layout) = self.products.storage_and_layout();
        let products = Input { storage: storage_of(&products, "conv2d_pyramid")?, layout };
        for level in p.levels() {
            let by_position = taps_last(p, device, &products.view::<T>()?, &level)?;
            let maps = maps(p, device, &levels.view::<T>()?, &level)?;
            gemm(
                device,
                Sizes { rows, inner: p.plain.batch * level.count, columns: p.level_channels, batch: 1 },
                [
                    (&by_position.slice(..), Operand::rows([rows, 0]).flipped()),
                    (&maps.slice(..), Operand::rows([p.level_channels, 0])),
                ],
                (&mut out.slice_mut(level.channel..), Operand::rows([channels, 0])),
                0.0,
                p.arithmetic.factors,
            )?;
        }
        Ok(stored(out, device))
    }
}

/// Images, pixels of each, and output channels.
fn sizes(p: &PyramidGeometry) -> (usize, usize, usize) {
    let [height, width, _] = p.plain.input;
    (p.plain.batch, height * width, p.plain.output[2])
}

/// Products of an image, with some rows of zeros: bf16 is fast where the inner size is a multiple of eight.
fn rows(p: &PyramidGeometry) -> usize {
    (p.taps() * p.positions()).next_multiple_of(8)
}

/// A level's taps of the weights: rows (O, KH, KW) of which L channels count.
fn kernel<'a, T: Element>(
    p: &PyramidGeometry,
    weight: Input<'a, CudaStorage>,
    level: &Level,
) -> Result<CudaView<'a, T>> {
    let (start, rows) = (weight.layout.start_offset(), p.plain.output[2] * p.taps());
    let slice = weight.storage.as_cuda_slice::<T>()?;
    Ok(slice.slice(start + level.channel..start + rows * p.channels()))
}

/// The weights (O, KH, KW, I) of the map.
fn plain_weight<T: Element>(p: &PyramidGeometry, weight: Input<'_, CudaStorage>) -> Result<CudaStorage> {
    let (device, inputs) = (weight.storage.device(), p.plain.input[2]);
    let rows = p.plain.output[2] * p.taps();
    let mut plain = room::<T>(device, rows * inputs)?;
    let columns = Arrangement::columns(rows, inputs, p.channels(), inputs);
    rearrange(device, &weight.view::<T>()?, columns, &mut plain.slice_mut(..))?;
    Ok(stored(plain, device))
}

/// A level's pixels (N, count, L).
fn maps<T: Element>(
    p: &PyramidGeometry,
    device: &CudaDevice,
    levels: &CudaView<'_, T>,
    level: &Level,
) -> Result<CudaSlice<T>> {
    let (images, channels) = (p.plain.batch, p.level_channels);
    let mut maps = room::<T>(device, images * level.count * channels)?;
    let columns = Arrangement::columns(
        images,
        level.count * channels,
        p.positions() * channels,
        level.count * channels,
    );
    rearrange(device, &levels.slice(level.start * channels..), columns, &mut maps.slice_mut(..))?;
    Ok(maps)
}

/// From a level's products (N, count, O, taps) to their places among all (N, taps, P, O), `rows` of each
/// image.
fn taps_first(p: &PyramidGeometry, level: &Level, rows: usize) -> Arrangement {
    let (images, _, outputs) = sizes(p);
    let taps = p.taps();
    Arrangement {
        extents: [images, taps, level.count, outputs],
        from: [level.count * outputs * taps, 1, outputs * taps, taps],
        to: [rows * outputs, p.positions() * outputs, outputs, 1],
    }
}

/// A level's products (N, count, O, taps) from among all (N, taps, P, O).
fn taps_last<T: Element>(
    p: &PyramidGeometry,
    device: &CudaDevice,
    products: &CudaView<'_, T>,
    level: &Level,
) -> Result<CudaSlice<T>> {
    let (images, _, outputs) = sizes(p);
    let Arrangement { extents, from, to } = taps_first(p, level, p.taps() * p.positions());
    let mut by_position = room::<T>(device, images * level.count * outputs * p.taps())?;
    let arrangement = Arrangement { extents, from: to, to: from };
    let products = products.slice(level.start * outputs..);
    rearrange(device, &products, arrangement, &mut by_position.slice_mut(..))?;
    Ok(by_position)
}

/// How much of each tap's product at each position reaches each pixel, (pixels, rows), with columns of zeros
/// at the end. Every image and every step uses the same matrix, so it stays on the device.
fn interpolation(p: &PyramidGeometry, device: &Device, dtype: DType) -> Result<Tensor> {
    static KNOWN: Mutex<Option<HashMap<String, Tensor>>> = Mutex::new(None);
    let [height, width, _] = p.plain.input;
    let key =
        format!("{:?}", (device.location(), dtype, height, width, p.plain.kernel, &p.bins, p.alignment));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(matrix) = known.get(&key) {
        return Ok(matrix.clone());
    }
    if is_recording() {
        bail!("a recording does not begin with a matrix of interpolation weights");
    }
    let (taken, all) = (p.taps() * p.positions(), rows(p));
    let mut padded = vec![0.0; height * width * all];
    for (padded, weights) in padded.chunks_exact_mut(all).zip(p.interpolation().chunks_exact(taken)) {
        padded[..taken].copy_from_slice(weights);
    }
    let matrix = Tensor::from_vec(padded, (height * width, all), device)?.to_dtype(dtype)?;
    // Images of many sizes must not fill the memory.
    if known.len() == 8 {
        known.clear();
        moved();
    }
    known.insert(key, matrix.clone());
    Ok(matrix)
}
