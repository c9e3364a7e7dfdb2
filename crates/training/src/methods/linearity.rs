//! The linearity of the loss along a perturbation: SORA's alignment of gradients.

use candle_core::{Device, Tensor};

use crate::Result;

/// The weight of a new linearity in the running mean.
const RATE: f64 = 0.05;

/// A running mean of linearities over the updates of a training: how much of the slope along a
/// perturbation is left at its end. It is 1 where the loss is linear, and falls in catastrophic
/// overfitting. It starts at 0.99 (SORA).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Linearity(f32);

impl Default for Linearity {
    fn default() -> Self {
        Self(0.99)
    }
}

impl Linearity {
    /// The name in a saved state.
    pub(super) const NAME: &str = "linearity";

    /// The running mean.
    pub(super) fn value(self) -> f64 {
        f64::from(self.0)
    }

    /// Takes in the mean of `slopes / norms`, both by image. Images with a norm of 0 do not count, and
    /// a mean that is not finite changes nothing.
    pub(super) fn learn(&mut self, slopes: &[f32], norms: &[f32]) {
        let shares = slopes.iter().zip(norms).filter(|(_, norm)| **norm > 0.0);
        let shares: Vec<f64> = shares.map(|(slope, norm)| f64::from(*slope) / f64::from(*norm)).collect();
        if shares.is_empty() {
            return;
        }
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        if !mean.is_finite() {
            return;
        }
        self.0 = (self.value() + RATE * (mean - self.value())) as f32;
    }

    pub(super) fn to_tensor(self) -> Tensor {
        Tensor::new(&[self.0], &Device::Cpu).expect("a number on the CPU")
    }

    pub(super) fn of_tensor(tensor: &Tensor) -> Result<Self> {
        Ok(Self(tensor.flatten_all()?.get(0)?.to_scalar()?))
    }
}

/// The slope of each image's loss along `direction`, (M) from two tensors (M, 3, H, W).
pub(super) fn slopes(direction: &Tensor, gradient: &Tensor) -> Result<Vec<f32>> {
    Ok((direction * gradient)?.flatten_from(1)?.sum(1)?.to_vec1()?)
}
