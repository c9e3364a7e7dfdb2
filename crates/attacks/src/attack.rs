//! The interface of all attacks.

use candle_core::Tensor;
use robustseg_random::ChaCha8Rng;

use crate::{Model, Result};

/// Adversarial examples for a batch.
#[derive(Clone, Debug)]
pub struct Adversarial {
    /// The perturbed images (N, 3, H, W), f32 in `[0, 1]`.
    pub image: Tensor,
    /// The step or ball that was used for each image (N), f32, in the images' unit. Negative where
    /// [`FastNewton`](crate::FastNewton) stepped the other way.
    pub epsilon: Tensor,
}

/// A way to craft adversarial examples.
pub trait Attack {
    /// The attack's name in specs, on the command line and in results.
    fn name(&self) -> &'static str;

    /// Perturbs `image` (N, 3, H, W), f32 in `[0, 1]`, so that `model` gets `label` (N, H, W), u8, wrong.
    ///
    /// An image without a labelled pixel comes back unchanged. `random` is used by randomised attacks only.
    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Adversarial>;
}
