//! Convolution over a map beside upsampled small ones, put together from operations that have gradients.

use crate::cpu::pyramid::Pyramid;
use crate::{Conv2dConfig, conv2d_add};
use candle_core::{DType, Device, Result, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Output (N, H, W, O) of the map (N, H, W, I), the levels (N, P, L) and the weights (O, KH, KW, I + levels x L).
pub(crate) fn convolve(p: &Pyramid, x: &Tensor, levels: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let g = &p.plain;
    let (images, outputs, taps, channels) = (g.batch, g.output[2], p.taps(), p.level_channels);
    // The products of every position with every tap, (N, taps, P, O).
    let mut products = Vec::with_capacity(p.bins.len());
    let (mut start, mut channel) = (0, g.input[2]);
    for bins in &p.bins {
        let count = bins * bins;
        let maps = levels.narrow(1, start, count)?.contiguous()?.reshape((images * count, channels))?;
        let kernel =
            weight.narrow(3, channel, channels)?.contiguous()?.reshape((outputs * taps, channels))?;
        let product = maps.matmul(&kernel.t()?)?.reshape((images, count, outputs, taps))?;
        products.push(product.permute((0, 3, 1, 2))?);
        start += count;
        channel += channels;
    }
    let rows = taps * p.positions();
    let products = Tensor::cat(&products, 2)?.reshape((images, rows, outputs))?;
    let upsampled = interpolation(p, x.device(), x.dtype())?.broadcast_matmul(&products)?;
    let upsampled = upsampled.reshape((images, g.output[0], g.output[1], outputs))?;
    let config = Conv2dConfig { padding: g.padding, ..Conv2dConfig::default() };
    let plain = weight.narrow(3, 0, g.input[2])?.contiguous()?;
    conv2d_add(x, &plain, config, &upsampled)
}

/// How much of each tap's product at each position reaches each pixel, (pixels, taps x P): the same for every image and
/// step, so it stays on the device.
fn interpolation(p: &Pyramid, device: &Device, dtype: DType) -> Result<Tensor> {
    static KNOWN: Mutex<Option<HashMap<String, Tensor>>> = Mutex::new(None);
    let [height, width, _] = p.plain.input;
    let key =
        format!("{:?}", (device.location(), dtype, height, width, p.plain.kernel, &p.bins, p.alignment));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(matrix) = known.get(&key) {
        return Ok(matrix.clone());
    }
    let shape = (height * width, p.taps() * p.positions());
    let matrix = Tensor::from_vec(p.interpolation(), shape, device)?.to_dtype(dtype)?;
    // Images of many sizes must not fill the memory.
    if known.len() == 8 {
        known.clear();
    }
    known.insert(key, matrix.clone());
    Ok(matrix)
}
