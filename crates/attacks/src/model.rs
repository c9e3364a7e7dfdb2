//! What an attack needs of a network.

use candle_core::{DType, Result, Tensor};
use robustseg_ops::Alignment;

/// A segmentation network as an attack sees it: images in, logits out.
///
/// The logits may be smaller than the image; objectives upsample them bilinearly to the label's size.
/// Weights that take part in the computation should be detached: candle would otherwise compute their
/// gradients along with the image's.
///
/// # Operations that cut the gradient
///
/// Some operations have no backward pass in candle, and give no error: the gradient lacks what would come through them.
/// Where a residual connection leads around them, it is then wrong and not missing, and every attack overstates the
/// model's robustness. In candle-nn 0.11 these are
///
/// | cuts the gradient | can be differentiated |
/// |---|---|
/// | `ops::softmax_last_dim` | `ops::softmax` |
/// | `ops::layer_norm`, and `LayerNorm` with a bias on contiguous tensors | `ops::layer_norm_slow`, `LayerNorm::new_no_bias` |
/// | `ops::rms_norm`, and `RmsNorm` on contiguous tensors | `ops::rms_norm_slow`, `RmsNorm::forward_diff` |
/// | `rotary_emb::rope`, `rope_i`, `rope_thd` | `rotary_emb::rope_slow`, `rope_i_slow` |
/// | `ops::sdpa` | products and `ops::softmax` |
///
/// and, everywhere, `detach`, quantised layers and every custom operation that is applied by `apply_op1_no_bwd` and its like.
/// candle-core's `max_pool2d` has a gradient that is too short, by the number of pixels of a window
/// (`robustseg_ops::max_pool2d` has the right one).
/// [`check_gradient`](crate::check_gradient) finds them; evaluations and the command line call it before they attack.
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

    /// Whether the gradient is meant to differ from the slope of the logits, as that of a straight-through estimator does;
    /// it is then not compared with it.
    fn has_surrogate_gradient(&self) -> bool {
        false
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
