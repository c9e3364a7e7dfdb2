//! The objectives of training and attacks: means over the labelled pixels of full-size logits,
//! fused with the upsampling that makes them.

use crate::adapter::{apply, run};
use crate::channels::{ColumnSum, ScaleRows};
use crate::error::{self, dims4};
use crate::operation::{Backward, Operation};
use crate::resize::{Alignment, Resize};
use candle_core::{DType, Result, Shape, Tensor, bail};
use std::sync::OnceLock;

/// The value of a label map at unlabelled pixels, which count for nothing.
pub const IGNORE_LABEL: u8 = 255;

/// An objective at one labelled pixel, of its logits z and label y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PixelObjective {
    /// Minus the logarithm of the label's softmax.
    CrossEntropy,
    /// `z_y - max_{i != y} z_i`, positive where the prediction is right (Wiens & Hammer, equation
    /// 14). With equal largest others the gradient goes to the first.
    Gain,
    /// Cross-entropy weighted by `1 - lambda` where the prediction is right and `lambda` where it
    /// is wrong (Gu et al. 2022, `SegPGD`).
    SegPgd {
        /// Weight of pixels that are already wrong.
        lambda: f32,
    },
    /// Cross-entropy weighted by the cosine of the angle between softmax and one-hot label. No
    /// gradient flows through the weight (Agnihotri et al. 2024, `CosPGD`).
    CosPgd,
    /// Cross-entropy where the prediction is right, 0 where it is already wrong. No gradient flows
    /// through that choice (Croce, Singh, Hein 2024).
    MaskedCrossEntropy,
    /// [`PixelObjective::MaskedCrossEntropy`] in which all classes of an image count the same: a
    /// pixel of class c weighs `labelled / (present * pixels of c)`, by the labelled pixels and the
    /// classes present in its image. [`set_balanced_objective_per_image`] counts the pixels of a
    /// whole set instead, as Croce, Singh, Hein 2024 do.
    BalancedMaskedCrossEntropy,
    /// Tsallis cross-entropy `(1 - p^(1 - q)) / (1 - q)`, where p is the label's softmax, and
    /// cross-entropy at q = 1. Its gradient is that of cross-entropy times `p^(1 - q)`. A q below 1
    /// bounds the objective by `1 / (1 - q)` and favours pixels that are right (`TsallisPGD`, 2026).
    Tsallis {
        /// The order, at most 1. Above 1 the objective grows like a power of 1 / p and may overflow.
        q: f32,
    },
    /// The Jensen-Shannon divergence of softmax and one-hot label, from 0 to the logarithm of 2
    /// (Croce, Singh, Hein 2024). Its gradient vanishes at pixels that are clearly wrong.
    JensenShannon,
}

/// The pixels over which a mean is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mean {
    EachImage,
    WholeBatch,
}

/// The mean of `objective` over each image's labelled pixels, shape (N).
///
/// `logits` (N, h, w, K) of any size are interpolated bilinearly to the size of `label` (N, H, W),
/// u8, on the way. An image without a labelled pixel gives 0 with a gradient of 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, IGNORE_LABEL, PixelObjective, pixel_objective_per_image};
/// # fn main() -> candle_core::Result<()> {
/// let logits = Tensor::new(&[[[[1_f32, 4.0], [0.5, 0.0]]]], &Device::Cpu)?; // two pixels, two classes
/// let label = Tensor::new(&[[[1_u8, IGNORE_LABEL]]], &Device::Cpu)?;
/// let gain = pixel_objective_per_image(&logits, &label, PixelObjective::Gain, Alignment::HalfPixel)?;
/// assert_eq!(gain.to_vec1::<f32>()?, [3.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit, or a label is neither a class nor [`IGNORE_LABEL`]. A GPU is not
/// waited for: there, such a label makes the value of its image NaN instead.
pub fn pixel_objective_per_image(
    logits: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
    alignment: Alignment,
) -> Result<Tensor> {
    mean_of(logits, label, objective, alignment, (Mean::EachImage, None))
}

/// [`PixelObjective::BalancedMaskedCrossEntropy`] with the classes balanced over a set of images:
/// a pixel of class c weighs `labelled / (present * pixels of c)` by the `class_pixels` of the set,
/// one count per class (Croce, Singh, Hein 2024). A pixel of a class that the set lacks weighs 0.
/// Otherwise as [`pixel_objective_per_image`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, set_balanced_objective_per_image};
/// # fn main() -> candle_core::Result<()> {
/// let logits = Tensor::new(&[[[[1_f32, 0.0]]]], &Device::Cpu)?; // one pixel, which is right
/// let label = Tensor::new(&[[[0_u8]]], &Device::Cpu)?;
/// let value = |class_pixels: &[u64]| {
///     let value = set_balanced_objective_per_image(&logits, &label, class_pixels, Alignment::HalfPixel)?;
///     candle_core::Result::Ok(value.to_vec1::<f32>()?[0])
/// };
/// // In a set where three of four pixels are of class 0, its pixels weigh two thirds.
/// assert!((value(&[3, 1])? / value(&[1, 1])? - 2.0 / 3.0).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`pixel_objective_per_image`], and if there is not one count per class.
pub fn set_balanced_objective_per_image(
    logits: &Tensor,
    label: &Tensor,
    class_pixels: &[u64],
    alignment: Alignment,
) -> Result<Tensor> {
    let objective = PixelObjective::BalancedMaskedCrossEntropy;
    mean_of(logits, label, objective, alignment, (Mean::EachImage, Some(class_pixels)))
}

/// The mean of `objective` over all labelled pixels of the batch, a scalar: the training loss
/// (equation 13). Otherwise as [`pixel_objective_per_image`].
///
/// # Errors
/// As [`pixel_objective_per_image`].
pub fn pixel_objective_mean(
    logits: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
    alignment: Alignment,
) -> Result<Tensor> {
    let shares = mean_of(logits, label, objective, alignment, (Mean::WholeBatch, None))?;
    if shares.device().is_cuda() {
        return apply(ColumnSum { channels: 1 }, [&shares.unsqueeze(1)?])?.squeeze(0);
    }
    shares.sum_all()
}

fn mean_of(
    logits: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
    alignment: Alignment,
    (mean, class_pixels): (Mean, Option<&[u64]>),
) -> Result<Tensor> {
    let (images, height, width, classes) = dims4("pixel_objective", "logits (N, h, w, K)", logits)?;
    error::dtype("pixel_objective", DType::F32, logits)?;
    error::dtype("pixel_objective", DType::U8, label)?;
    let target = match *label.dims() {
        [n, height, width] if n == images && height > 0 && width > 0 => [height, width],
        _ => {
            let expected = format!("label (N, H, W) of {images} images");
            return Err(error::shape("pixel_objective", expected, label));
        }
    };
    if let Some(counts) = class_pixels.filter(|counts| counts.len() != classes) {
        let found = counts.len();
        bail!("pixel_objective: expected the pixels of {classes} classes, found {found} counts");
    }
    let resize = Resize { source: [height, width], target, channels: classes, alignment };
    let with_gradient = logits.track_op();
    let class_pixels = class_pixels.map(Into::into);
    let gradient = OnceLock::new();
    let objective = Objective { resize, pixel: objective, class_pixels, mean, with_gradient, gradient };
    apply(objective, [logits, label])
}

/// The values (N) of (logits, label) and, computed with them, their gradient, which the backward
/// computation only scales.
pub(crate) struct Objective {
    pub(crate) resize: Resize,
    pub(crate) pixel: PixelObjective,
    /// The pixels of each class over which classes are balanced, instead of those of each image.
    pub(crate) class_pixels: Option<Box<[u64]>>,
    pub(crate) mean: Mean,
    /// Whether the forward computation fills in the gradient.
    pub(crate) with_gradient: bool,
    /// Of each image's value by its logits.
    pub(crate) gradient: OnceLock<Tensor>,
}

impl Operation<2> for Objective {
    const NAME: &'static str = "pixel_objective";

    fn shape(&self, [logits, _]: [&Shape; 2]) -> Shape {
        Shape::from(logits.dims()[0])
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let scaled = self.gradient.get().map(|saved| run(ScaleRows, [saved, backward.gradient]));
        Ok([scaled.transpose()?, None])
    }
}
