//! The gain of every pixel at full size.

use crate::adapter::run;
use crate::error::{self, dims4};
use crate::operation::Operation;
use crate::resize::{Alignment, Resize};
use candle_core::{DType, Device, Result, Shape, Tensor};

/// The gain of every pixel, f32 (N, H, W) on the CPU: [`PixelObjective::Gain`] of `logits` (N, h,
/// w, K) at the size of `label` (N, H, W), u8. Unlabelled pixels have 0.
///
/// The CPU computes it from the small logits, on any device. What depends on the order of the gains,
/// such as their median, is computed there too. No gradient flows through the result. Cost: about
/// that of [`predict`](crate::predict).
///
/// [`PixelObjective::Gain`]: crate::PixelObjective::Gain
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, IGNORE_LABEL, gain_map};
/// # fn main() -> candle_core::Result<()> {
/// let logits = Tensor::new(&[[[[1_f32, 4.0], [0.5, 0.0], [2.0, 3.0]]]], &Device::Cpu)?;
/// let label = Tensor::new(&[[[1_u8, IGNORE_LABEL, 0]]], &Device::Cpu)?;
/// let gains = gain_map(&logits, &label, Alignment::HalfPixel)?;
/// assert_eq!(gains.flatten_all()?.to_vec1::<f32>()?, [3.0, 0.0, -1.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes or types do not fit, or a label is neither a class nor
/// [`IGNORE_LABEL`](crate::IGNORE_LABEL).
pub fn gain_map(logits: &Tensor, label: &Tensor, alignment: Alignment) -> Result<Tensor> {
    let (images, h, w, channels) = dims4("gain_map", "logits (N, h, w, K)", logits)?;
    error::dtype("gain_map", DType::F32, logits)?;
    error::dtype("gain_map", DType::U8, label)?;
    let target = match *label.dims() {
        [n, height, width] if n == images && height > 0 && width > 0 => [height, width],
        _ => return Err(error::shape("gain_map", format!("label (N, H, W) of {images} images"), label)),
    };
    let resize = Resize { source: [h, w], target, channels, alignment };
    run(GainMap(resize), [&logits.detach().to_device(&Device::Cpu)?, &label.to_device(&Device::Cpu)?])
}

/// Of (logits, label), f32 (N, H, W).
pub(crate) struct GainMap(pub(crate) Resize);

impl Operation<2> for GainMap {
    const NAME: &'static str = "gain_map";

    fn shape(&self, [_, label]: [&Shape; 2]) -> Shape {
        label.clone()
    }
}
