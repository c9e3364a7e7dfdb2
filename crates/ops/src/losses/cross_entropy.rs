//! Cross-entropy with weights of classes, over all or over the hardest pixels.

use super::{LossKind, of, require_weights};
use crate::resize::Alignment;
use candle_core::{Result, Tensor, bail};

/// The pixels that [`ohem_cross_entropy`] keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hardest {
    /// Pixels are kept whose label has a softmax below this, from 0 to 1.
    pub threshold: f64,
    /// At least this share of the labelled pixels of the batch is kept, from 0 to 1, rounded down.
    /// Pixels as hard as the last of them are kept too.
    pub share: f64,
}

/// The weighted mean of the cross-entropy over the labelled pixels of the batch, a scalar: `sum
/// weights[y] CE / sum weights[y]`, as PyTorch's `cross_entropy` with `weight`.
///
/// `logits` (N, h, w, K) of any size are interpolated bilinearly to the size of `label` (N, H, W),
/// u8. Without a labelled pixel of positive weight the loss is 0 with a gradient of 0. Cost: about
/// that of [`pixel_objective_mean`](crate::pixel_objective_mean) on the CPU, which computes it on any
/// device.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, weighted_cross_entropy};
/// # fn main() -> candle_core::Result<()> {
/// let logits = Tensor::new(&[[[[0_f32, 0.0], [0.0, 3_f32.ln()]]]], &Device::Cpu)?;
/// let label = Tensor::new(&[[[0_u8, 1]]], &Device::Cpu)?;
/// let loss = weighted_cross_entropy(&logits, &label, &[1.0, 3.0], Alignment::HalfPixel)?;
/// let expected = (2_f32.ln() + 3.0 * (4_f32 / 3.0).ln()) / 4.0;
/// assert!((loss.to_scalar::<f32>()? - expected).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit, a label is neither a class nor
/// [`IGNORE_LABEL`](crate::IGNORE_LABEL), or there is not one weight of at least 0 for each class.
pub fn weighted_cross_entropy(
    logits: &Tensor,
    label: &Tensor,
    weights: &[f32],
    alignment: Alignment,
) -> Result<Tensor> {
    require_weights(CrossEntropy::NAME, logits, weights)?;
    of(CrossEntropy { weights: Some(weights.into()), hardest: None }, logits, label, alignment)
}

/// The mean of the cross-entropy over the hardest labelled pixels of the batch, a scalar: online
/// hard example mining (Shrivastava, Gupta, Girshick 2016), for pixels as in `HRNet`'s program. With
/// `weights` of the classes the mean over the kept pixels is that of [`weighted_cross_entropy`]. No
/// gradient flows through the choice of the pixels.
///
/// Otherwise as [`weighted_cross_entropy`]. Cost: twice that, and 8 bytes for each labelled pixel.
///
/// # Errors
/// As [`weighted_cross_entropy`], and if a setting of `hardest` is not from 0 to 1.
pub fn ohem_cross_entropy(
    logits: &Tensor,
    label: &Tensor,
    hardest: Hardest,
    weights: Option<&[f32]>,
    alignment: Alignment,
) -> Result<Tensor> {
    for value in [hardest.threshold, hardest.share] {
        if !(0.0..=1.0).contains(&value) {
            bail!("{}: expected a threshold and a share from 0 to 1, found {value}", CrossEntropy::NAME);
        }
    }
    if let Some(weights) = weights {
        require_weights(CrossEntropy::NAME, logits, weights)?;
    }
    let kind = CrossEntropy { weights: weights.map(Into::into), hardest: Some(hardest) };
    of(kind, logits, label, alignment)
}

pub(crate) struct CrossEntropy {
    /// By class.
    pub(crate) weights: Option<Box<[f32]>>,
    pub(crate) hardest: Option<Hardest>,
}

impl LossKind for CrossEntropy {
    const NAME: &'static str = "weighted_cross_entropy";
}
