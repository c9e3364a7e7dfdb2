//! The interface that an attack needs of a network.

use candle_core::{DType, Result, Tensor};
use robustseg_ops::{Alignment, Pass};

/// A segmentation network as an attack sees it: images in, logits out.
///
/// The logits may be smaller than the image: objectives upsample them bilinearly to the size of the
/// label. Detach the weights that take part in the computation, or candle computes their gradients
/// along with the image's.
///
/// # Operations that cut the gradient
///
/// Some operations in candle have no backward pass and give no error. The gradient then lacks the
/// part that would flow through them. If a residual connection bypasses the operation, the gradient
/// is wrong rather than missing, and every attack overstates the model's robustness. In candle-nn
/// 0.11 these operations are
///
/// | cuts the gradient | can be differentiated |
/// |---|---|
/// | `ops::softmax_last_dim` | `ops::softmax` |
/// | `ops::layer_norm`, and `LayerNorm` with a bias on contiguous tensors | `ops::layer_norm_slow`, `LayerNorm::new_no_bias` |
/// | `ops::rms_norm`, and `RmsNorm` on contiguous tensors | `ops::rms_norm_slow`, `RmsNorm::forward_diff` |
/// | `rotary_emb::rope`, `rope_i`, `rope_thd` | `rotary_emb::rope_slow`, `rope_i_slow` |
/// | `ops::sdpa` | products and `ops::softmax` |
///
/// and everywhere `detach`, quantised layers and every custom operation applied by
/// `apply_op1_no_bwd` and its like. The gradient of candle-core's `max_pool2d` is too small by a
/// factor of the window's pixels (`robustseg_ops::max_pool2d` has the right one).
/// [`check_gradient`](crate::check_gradient) detects these faults. Evaluations and the command line
/// call it before they attack.
///
/// Closures from an image (N, 3, H, W) to logits (N, h, w, K) are models. Most candle models give
/// logits (N, K, h, w); wrap those in [`channels_first`].
pub trait Model {
    /// Logits (N, h, w, K), f32, channels last, differentiable in `image`. The image is (N, 3, H,
    /// W) of [`Model::image_dtype`], in `[0, 1]`.
    fn logits(&self, image: &Tensor) -> Result<Tensor>;

    /// The type of images that the model takes. Iterated attacks keep images in f64. A model
    /// that takes f64 receives them unrounded, and can normalise before it rounds to f32.
    fn image_dtype(&self) -> DType {
        DType::F32
    }

    /// How to bring the logits to the size of the label.
    fn alignment(&self) -> Alignment {
        Alignment::HalfPixel
    }

    /// Whether the gradient differs from the slope of the logits on purpose, as that of a
    /// straight-through estimator does. The two are then not compared.
    fn has_surrogate_gradient(&self) -> bool {
        false
    }

    /// The results of a pass over this model, see [`repeated`]. `None` has it computed. A model on a GPU
    /// may run a recording instead ([`Recordings`]). A model that wraps another lets that one repeat the
    /// pass, under a name that says what the wrapper does.
    ///
    /// [`Recordings`]: robustseg_ops::Recordings
    fn repeat(&self, pass: &Pass<'_>, compute: OnModel<'_>) -> Option<Result<Vec<Tensor>>> {
        let _ = (pass, compute);
        None
    }
}

/// A computation on a model and on tensors.
pub type OnModel<'a> = &'a dyn Fn(&dyn Model, &[Tensor]) -> Result<Vec<Tensor>>;

/// The results of a pass: of `compute`, which differentiates the model once, at the first of the pass's
/// inputs. It gets them detached, and depends on nothing else but the pass's name.
///
/// # Errors
/// Those of `compute`.
pub fn repeated(model: &dyn Model, pass: &Pass<'_>, compute: OnModel<'_>) -> Result<Vec<Tensor>> {
    model.repeat(pass, compute).unwrap_or_else(|| pass.compute(|inputs| compute(model, inputs)))
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Model for F {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        self(image)
    }
}

/// A model from a closure with channels-first logits; see [`channels_first`].
pub struct ChannelsFirst<F>(F);

/// Makes a model from a closure that maps an image (N, 3, H, W) to logits (N, K, h, w).
pub fn channels_first<F: Fn(&Tensor) -> Result<Tensor>>(logits: F) -> ChannelsFirst<F> {
    ChannelsFirst(logits)
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Model for ChannelsFirst<F> {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        self.0(image)?.permute((0, 2, 3, 1))?.contiguous()
    }
}
