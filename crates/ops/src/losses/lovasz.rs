//! Lovász-softmax: Berman, Triki, Blaschko, *The Lovász-Softmax Loss*, CVPR 2018.

use super::{LossKind, of};
use crate::resize::Alignment;
use candle_core::{Result, Tensor};

/// The Lovász extension of the Jaccard loss `1 - IoU` of each class that occurs among the labels,
/// averaged over these classes, a scalar (Berman, Triki, Blaschko 2018, equations 8 and 12). The
/// pixels of a class are those of the whole batch, or those of each image, whose losses are then
/// averaged. An image without a labelled pixel counts as 0.
///
/// `logits` (N, h, w, K) of any size are interpolated bilinearly to the size of `label` (N, H, W), u8.
/// Pixels with equal errors are taken in their order. Cost: a sort of the pixels for each class, and
/// 8 K bytes for each labelled pixel, of the batch or of one image. The CPU computes it on any
/// device.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, lovasz_softmax};
/// # fn main() -> candle_core::Result<()> {
/// let logits = Tensor::new(&[[[[0_f32, 0.0], [3_f32.ln(), 0.0]]]], &Device::Cpu)?;
/// let label = Tensor::new(&[[[0_u8, 0]]], &Device::Cpu)?;
/// let loss = lovasz_softmax(&logits, &label, false, Alignment::HalfPixel)?;
/// // Errors of 1/2 and 1/4, each of which takes half of the IoU.
/// assert!((loss.to_scalar::<f32>()? - 0.375).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit, or a label is neither a class nor
/// [`IGNORE_LABEL`](crate::IGNORE_LABEL).
pub fn lovasz_softmax(
    logits: &Tensor,
    label: &Tensor,
    per_image: bool,
    alignment: Alignment,
) -> Result<Tensor> {
    of(Lovasz { per_image }, logits, label, alignment)
}

pub(crate) struct Lovasz {
    pub(crate) per_image: bool,
}

impl LossKind for Lovasz {
    const NAME: &'static str = "lovasz_softmax";
}
