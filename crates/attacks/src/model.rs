//! What an attack needs of a network.

use candle_core::{DType, Result, Tensor};
use robustseg_ops::Alignment;

/// A segmentation network as an attack sees it: images in, logits out.
///
/// The logits may be smaller than the image; objectives upsample them bilinearly to the label's size.
/// Weights that take part in the computation should be detached: candle would otherwise compute their
/// gradients along with the image's.
///
/// Closures from an image (N, 3, H, W) to logits (N, h, w, K) are models; for logits (N, K, h, w), as most
/// candle models give them, use [`channels_first`].
pub trait Model {
    /// Logits (N, h, w, K), f32, channels last, differentiable in `image` (N, 3, H, W), of [`Model::image_dtype`], in
    /// `[0, 1]`.
    fn logits(&self, image: &Tensor) -> Result<Tensor>;

    /// The type in which images are given to the model. A model that takes f64 sees an iterated attack's images as
    /// they are, not rounded to f32 before they are normalised.
    fn image_dtype(&self) -> DType {
        DType::F32
    }

    /// How the logits are brought to the label's size.
    fn alignment(&self) -> Alignment {
        Alignment::HalfPixel
    }
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Model for F {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        self(image)
    }
}

/// A model made of a closure with channels-first logits; see [`channels_first`].
pub struct ChannelsFirst<F>(F);

/// Makes a model of a closure from an image (N, 3, H, W) to logits (N, K, h, w).
pub fn channels_first<F: Fn(&Tensor) -> Result<Tensor>>(logits: F) -> ChannelsFirst<F> {
    ChannelsFirst(logits)
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Model for ChannelsFirst<F> {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        self.0(image)?.permute((0, 2, 3, 1))?.contiguous()
    }
}
