//! Probabilities of classes as protocols average them.

use candle_core::{Result, Tensor};
use robustseg_attacks::Model;
use robustseg_ops::{Alignment, softmax, upsample_bilinear};

/// The probabilities (N, height, width, K) that `model` gives the classes of `image` (N, 3, h, w).
/// The logits are brought to the size first. With `flip`, the result is the mean with that of the
/// mirrored image, mirrored back.
pub(super) fn probabilities(
    model: &dyn Model,
    image: &Tensor,
    [height, width]: [usize; 2],
    flip: bool,
) -> Result<Tensor> {
    let count = image.dim(0)?;
    let both = if flip { Tensor::cat(&[image, &image.flip(&[3])?], 0)? } else { image.clone() };
    let logits = upsample_bilinear(&model.logits(&both)?, height, width, model.alignment())?;
    let found = softmax(&logits)?;
    if !flip {
        return Ok(found);
    }
    let mirrored = found.narrow(0, count, count)?.contiguous()?.flip(&[2])?;
    (found.narrow(0, 0, count)? + mirrored)? * 0.5
}

/// `image` (N, 3, h, w) interpolated bilinearly to (N, 3, height, width). Pixels are areas, and no
/// filter smooths the image that shrinks, as in `OpenCV`'s `INTER_LINEAR`.
pub(super) fn resized(image: &Tensor, [height, width]: [usize; 2]) -> Result<Tensor> {
    let (_, _, h, w) = image.dims4()?;
    if (h, w) == (height, width) {
        return Ok(image.clone());
    }
    let pixels = image.permute((0, 2, 3, 1))?.contiguous()?;
    upsample_bilinear(&pixels, height, width, Alignment::HalfPixel)?.permute((0, 3, 1, 2))?.contiguous()
}
