//! Predicted classes at full size.

use crate::adapter::run;
use crate::error::{self, dims4};
use crate::operation::Operation;
use crate::resize::{Alignment, Resize};
use candle_core::{DType, Result, Shape, Tensor};

/// The predicted class of every pixel, u8 (N, `height`, `width`): the largest of the upsampled
/// `logits` (N, h, w, K), the first among equals.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, predict};
/// # fn main() -> candle_core::Result<()> {
/// let logits = Tensor::new(&[[[[1_f32, 4.0], [0.5, 0.0]]]], &Device::Cpu)?; // two pixels, two classes
/// let classes = predict(&logits, 1, 4, Alignment::HalfPixel)?;
/// assert_eq!(classes.flatten_all()?.to_vec1::<u8>()?, [1, 1, 1, 0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `logits` does not have four axes or has more than 256 classes.
pub fn predict(logits: &Tensor, height: usize, width: usize, alignment: Alignment) -> Result<Tensor> {
    let (_, h, w, classes) = dims4("predict", "logits (N, h, w, K)", logits)?;
    error::dtype("predict", DType::F32, logits)?;
    if classes > 256 || height == 0 || width == 0 {
        candle_core::bail!(
            "predict: expected at most 256 classes and a size of at least 1x1, found {classes} classes and \
             {height}x{width}"
        );
    }
    let resize = Resize { source: [h, w], target: [height, width], channels: classes, alignment };
    run(Predict(resize), [logits])
}

/// (N, h, w, K) to u8 (N, H, W).
pub(crate) struct Predict(pub(crate) Resize);

impl Operation<1> for Predict {
    const NAME: &'static str = "predict";

    fn shape(&self, [logits]: [&Shape; 1]) -> Shape {
        Shape::from((logits.dims()[0], self.0.target[0], self.0.target[1]))
    }
}
