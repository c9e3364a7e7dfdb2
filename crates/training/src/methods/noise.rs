//! Random neighbours of images.

use candle_core::{Device, Shape, Tensor};
use rand::RngExt;
use robustseg_random::Rng;

use crate::Result;

/// `image` plus noise from `U(-radius, radius)`, one draw per element, clipped to `[0, 1]`.
pub(crate) fn noisy(image: &Tensor, radius: f64, random: &mut dyn Rng) -> Result<Tensor> {
    if radius == 0.0 {
        return Ok(image.clone());
    }
    let noise: Vec<f64> = (0..image.elem_count()).map(|_| random.random::<f64>() * 2.0 - 1.0).collect();
    let noise = (Tensor::from_vec(noise, image.shape(), image.device())? * radius)?;
    Ok((image + noise.to_dtype(image.dtype())?)?.clamp(0.0, 1.0)?)
}

/// Draws from U(0, 1), f32, one for each element of `shape`.
pub(super) fn shares(shape: &Shape, device: &Device, random: &mut dyn Rng) -> Result<Tensor> {
    let draws = (0..shape.elem_count()).map(|_| random.random::<f32>()).collect();
    Ok(Tensor::from_vec::<_, f32>(draws, shape, device)?)
}
