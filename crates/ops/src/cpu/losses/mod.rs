//! Losses over the labelled pixels of a batch.

mod cross_entropy;
mod dice;
mod lovasz;

use super::labelled::Labelled;
use crate::error::Error;
use crate::losses::{Loss, LossKind};
use crate::operation::{CpuInputs, OnCpu};
use candle_core::{CpuStorage, Device, Result, Tensor};

/// The CPU side of a loss.
pub(crate) trait LossOnCpu: LossKind {
    fn find(&self, pixels: &Labelled<'_>, with_gradient: bool) -> std::result::Result<Found, Error>;
}

/// A loss and its gradient by the small logits (N, h, w, K), which is empty unless it was requested.
pub(crate) struct Found {
    value: f64,
    gradient: Vec<f32>,
}

impl<K: LossOnCpu> OnCpu<2> for Loss<K> {
    fn compute(&self, [logits, label]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (shape, resize) = (logits.layout.shape(), &self.resize);
        let (logits, label) = (logits.slice()?, label.slice()?);
        let pixels = Labelled { operation: K::NAME, resize, logits, label };
        let Found { value, gradient } = self.kind.find(&pixels, self.with_gradient)?;
        if self.with_gradient {
            self.gradient.set(Tensor::from_vec(gradient, shape, &Device::Cpu)?).ok();
        }
        Ok(CpuStorage::F32(vec![value as f32]))
    }
}

/// The slope by the logits, given the softmax in `slope` and the slope by the softmax.
fn through_softmax(slope: &mut [f32], by_softmax: impl Fn(usize) -> f32) {
    let mean: f32 = slope.iter().enumerate().map(|(class, p)| p * by_softmax(class)).sum();
    for (class, p) in slope.iter_mut().enumerate() {
        *p *= by_softmax(class) - mean;
    }
}
