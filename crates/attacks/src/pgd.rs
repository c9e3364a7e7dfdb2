//! Projected gradient descent: Madry, Makelov, Schmidt, Tsipras, Vladu, *Towards Deep Learning Models Resistant to
//! Adversarial Attacks*, ICLR 2018.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, pixel_objective_per_image};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Adversarial, Attack, Model, Result, bim, check_restarts, selection};

/// [`Bim`](crate::Bim) from a random point of the ball, several times over: of each image, the example with the
/// largest cross-entropy is taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Pgd {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps from each start, at least 1.
    pub steps: usize,
    /// Number of random starts, at least 1.
    pub restarts: usize,
}

impl Default for Pgd {
    /// Epsilon 0.03, alpha 0.01, 3 steps, as [`Bim`](crate::Bim); one start.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3, restarts: 1 }
    }
}

impl Pgd {
    /// The images (N, 3, H, W) at each of `epsilons`, one for every start. A start is the same point of the ball for
    /// all radii.
    pub(crate) fn starts(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        epsilons: &[f64],
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<Vec<Tensor>>> {
        check_restarts(self.restarts)?;
        let iteration = bim::iteration(self.alpha, self.steps);
        let mut found = vec![Vec::with_capacity(self.restarts); epsilons.len()];
        for _ in 0..self.restarts {
            let images = iteration.curve_from_random_start(model, image, label, epsilons, random)?;
            for (found, moved) in found.iter_mut().zip(images) {
                found.push(moved);
            }
        }
        Ok(found)
    }
}

impl Attack for Pgd {
    fn name(&self) -> &'static str {
        "pgd"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        let candidates = self.starts(model, image, label, &[self.epsilon], random)?.swap_remove(0);
        let epsilon = Tensor::full(self.epsilon as f32, image.dim(0)?, image.device())?;
        let image = selection::largest(&candidates, |candidate| {
            let logits = model.logits(&candidate.to_dtype(model.image_dtype())?)?.detach();
            let objective = PixelObjective::CrossEntropy;
            Ok(pixel_objective_per_image(&logits, label, objective, model.alignment())?.to_vec1()?)
        })?;
        Ok(Adversarial { image, epsilon })
    }
}
