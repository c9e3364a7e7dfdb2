//! FGSM with a random step size, sec. 4.1.2 of Wiens & Hammer 2022.

use candle_core::Tensor;
use rand::RngExt;
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Adversarial, Attack, Model, Result, check_epsilon, fgsm, input};

/// FGSM whose step size is drawn from `U(0, epsilon)`, once an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RandomFgsm {
    /// The largest step, in `[0, 1]`.
    pub epsilon: f64,
}

impl Default for RandomFgsm {
    /// The paper's: 0.03.
    fn default() -> Self {
        Self { epsilon: 0.03 }
    }
}

impl Attack for RandomFgsm {
    fn name(&self) -> &'static str {
        "random_fgsm"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        check_epsilon(self.epsilon)?;
        let count = input::check(image, label)?;
        let steps: Vec<f32> = (0..count).map(|_| (self.epsilon * random.random::<f64>()) as f32).collect();
        fgsm::step(model, image, label, Tensor::new(steps, image.device())?)
    }
}
