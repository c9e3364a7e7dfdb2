//! The Dice loss: Milletari, Navab, Ahmadi, *V-Net*, 3DV 2016, for several classes.

use super::{LossKind, of};
use crate::resize::Alignment;
use candle_core::{Result, Tensor, bail};

/// One minus the soft Dice coefficient of each class, averaged over all classes, a scalar: `1 - (2 I +
/// smooth) / (P + L + smooth)` with a class's sums over the labelled pixels of the batch, I of its
/// softmax where it is the label, P of its softmax, L of its labels. A class without a label counts
/// as 0, as in the library segmentation-models-pytorch.
///
/// `logits` (N, h, w, K) of any size are interpolated bilinearly to the size of `label` (N, H, W), u8.
/// Cost: twice that of [`pixel_objective_mean`](crate::pixel_objective_mean) on the CPU, which
/// computes it on any device.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, dice_loss};
/// # fn main() -> candle_core::Result<()> {
/// let logits = Tensor::new(&[[[[0_f32, 0.0], [0.0, 3_f32.ln()]]]], &Device::Cpu)?;
/// let label = Tensor::new(&[[[0_u8, 1]]], &Device::Cpu)?;
/// let loss = dice_loss(&logits, &label, 0.0, Alignment::HalfPixel)?;
/// // The softmax is (1/2, 1/2) and (1/4, 3/4).
/// let expected = ((1.0 - 1.0 / 1.75) + (1.0 - 1.5 / 2.25)) / 2.0;
/// assert!((loss.to_scalar::<f32>()? - expected).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit, a label is neither a class nor
/// [`IGNORE_LABEL`](crate::IGNORE_LABEL), or `smooth` is below 0.
pub fn dice_loss(logits: &Tensor, label: &Tensor, smooth: f64, alignment: Alignment) -> Result<Tensor> {
    if !(smooth >= 0.0 && smooth.is_finite()) {
        bail!("{}: expected a smooth of at least 0, found {smooth}", Dice::NAME);
    }
    of(Dice { smooth }, logits, label, alignment)
}

pub(crate) struct Dice {
    pub(crate) smooth: f64,
}

impl LossKind for Dice {
    const NAME: &'static str = "dice_loss";
}
