//! The convolution over a pyramid, composed of a convolution and matrix products that have
//! gradients of their own. GPUs compute it this way.

use crate::convolution::conv2d_add;
use crate::geometry::Conv2dConfig;
use crate::product::product;
use crate::pyramid_geometry::PyramidGeometry;
use candle_core::{DType, Device, Result, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Output (N, H, W, O) of the map (N, H, W, I), the levels (N, P, L) and the weights
/// (O, KH, KW, I + levels x L).
pub(crate) fn convolve(p: &PyramidGeometry, x: &Tensor, levels: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (g, arithmetic) = (&p.plain, p.arithmetic);
    let (images, outputs, taps, channels) = (g.batch, g.output[2], p.taps(), p.level_channels);
    // The products of every position with every tap, (N, taps, P, O).
    let mut products = Vec::with_capacity(p.bins.len());
    for level in p.levels() {
        let (start, count) = (level.start, level.count);
        let maps = levels.narrow(1, start, count)?.contiguous()?.reshape((images * count, channels))?;
        let kernel = weight.narrow(3, level.channel, channels)?.contiguous()?;
        let kernel = kernel.reshape((outputs * taps, channels))?.t()?;
        let products_of_level = product(&maps, &kernel, arithmetic)?;
        products.push(products_of_level.reshape((images, count, outputs, taps))?.permute((0, 3, 1, 2))?);
    }
    let (pixels, rows) = (g.input[0] * g.input[1], taps * p.positions());
    let products = Tensor::cat(&products, 2)?.reshape((images, rows, outputs))?;
    // Products of bf16 are fast where the inner size is a multiple of eight.
    let inner = rows.next_multiple_of(8);
    let products = products.pad_with_zeros(1, 0, inner - rows)?;
    let shares = interpolation(p, x.device(), x.dtype())?.broadcast_as((images, pixels, inner))?;
    let upsampled = product(&shares, &products, arithmetic)?;
    let upsampled = upsampled.reshape((images, g.output[0], g.output[1], outputs))?;
    let config = Conv2dConfig { padding: g.padding, ..Conv2dConfig::default() };
    let plain = weight.narrow(3, 0, g.input[2])?.contiguous()?;
    conv2d_add(x, &plain, config, &upsampled, arithmetic)
}

/// How much of each tap's product at each position reaches each pixel, (pixels, taps x P), with
/// columns of zeros up to a multiple of eight. Every image and every step uses the same matrix, so it stays on the device.
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
    let rows = p.taps() * p.positions();
    let matrix = Tensor::from_vec(p.interpolation(), (height * width, rows), device)?;
    let matrix = matrix.pad_with_zeros(1, 0, rows.next_multiple_of(8) - rows)?.to_dtype(dtype)?;
    // Images of many sizes must not fill the memory.
    if known.len() == 8 {
        known.clear();
    }
    known.insert(key, matrix.clone());
    Ok(matrix)
}
