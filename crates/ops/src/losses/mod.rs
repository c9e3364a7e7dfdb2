//! Losses of training beyond the mean cross-entropy, fused with the upsampling of small logits.
//!
//! The CPU computes them, whatever the device of the logits: they need counts, orders and sums over
//! all pixels before a gradient is known, and small logits are quickly copied. Full-size logits are
//! never stored.

mod cross_entropy;
mod dice;
mod lovasz;

use crate::adapter::{Adapter, Driven, apply};
use crate::error::{self, dims4};
#[cfg(feature = "cuda")]
use crate::operation::OnGpu;
use crate::operation::{Backward, Computed, Operation};
use crate::resize::{Alignment, Resize};
use candle_core::{DType, Device, Result, Shape, Tensor};
use std::sync::OnceLock;

pub(crate) use cross_entropy::CrossEntropy;
pub use cross_entropy::{Hardest, ohem_cross_entropy, weighted_cross_entropy};
pub(crate) use dice::Dice;
pub use dice::dice_loss;
pub(crate) use lovasz::Lovasz;
pub use lovasz::lovasz_softmax;

/// What a loss is, apart from its computation.
pub(crate) trait LossKind {
    /// The name in messages.
    const NAME: &'static str;
}

/// The scalar loss of (logits, label) and, computed with it, its gradient.
pub(crate) struct Loss<K> {
    pub(crate) kind: K,
    pub(crate) resize: Resize,
    /// Whether the forward computation fills in the gradient.
    pub(crate) with_gradient: bool,
    /// By the small logits.
    pub(crate) gradient: OnceLock<Tensor>,
}

impl<K: LossKind> Operation<2> for Loss<K> {
    const NAME: &'static str = K::NAME;

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        Shape::from(())
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let scale = f64::from(backward.gradient.to_scalar::<f32>()?);
        Ok([self.gradient.get().map(|saved| saved * scale).transpose()?, None])
    }
}

#[cfg(feature = "cuda")]
impl<K: LossKind> OnGpu<2> for Loss<K> {}

/// The loss `kind` of `logits` (N, h, w, K) at the size of `label` (N, H, W), a scalar on the device
/// of the logits.
fn of<K: LossKind>(kind: K, logits: &Tensor, label: &Tensor, alignment: Alignment) -> Result<Tensor>
where
    Loss<K>: Computed<2>,
    Adapter<Loss<K>, 2>: Driven<2> + Send + Sync + 'static,
{
    let (images, height, width, channels) = dims4(K::NAME, "logits (N, h, w, K)", logits)?;
    error::dtype(K::NAME, DType::F32, logits)?;
    error::dtype(K::NAME, DType::U8, label)?;
    let target = match *label.dims() {
        [n, height, width] if n == images && height > 0 && width > 0 => [height, width],
        _ => return Err(error::shape(K::NAME, format!("label (N, H, W) of {images} images"), label)),
    };
    let resize = Resize { source: [height, width], target, channels, alignment };
    let (with_gradient, gradient) = (logits.track_op(), OnceLock::new());
    let loss = Loss { kind, resize, with_gradient, gradient };
    let (on_cpu, label) = (logits.to_device(&Device::Cpu)?, label.to_device(&Device::Cpu)?);
    apply(loss, [&on_cpu, &label])?.to_device(logits.device())
}

/// Requires one finite weight of at least 0 for each of the classes of `logits`.
fn require_weights(operation: &'static str, logits: &Tensor, weights: &[f32]) -> Result<()> {
    let classes = logits.dims().last().copied().unwrap_or(0);
    if weights.len() != classes {
        let found = weights.len();
        candle_core::bail!("{operation}: expected the weights of {classes} classes, found {found}");
    }
    match weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
        Some(weight) => candle_core::bail!("{operation}: expected weights of at least 0, found {weight}"),
        None => Ok(()),
    }
}
