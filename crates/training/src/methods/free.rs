//! Free adversarial training: Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor,
//! Goldstein, *Adversarial Training for Free!*, `NeurIPS` 2019.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use robustseg_attacks::{Adversarial, Case, check_radius};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::range::refuse;
use crate::Result;
use crate::method::{Method, TrainingMethod, no_more};
use crate::practice::Practice;

/// The perturbation's name in a saved state.
const PERTURBATION: &str = "perturbation";

/// Trains on every batch `replays` times. One backward pass gives the gradients of the weights and
/// of the images: `delta = clip(delta + epsilon sign(gradient), -epsilon, epsilon)` (algorithm 1).
/// The perturbation starts at zero and carries over to the next replay and the next batch.
///
/// A training step covers one batch: `replays` updates at one learning rate. The paper divides the
/// number of epochs by `replays`. The drawn samples of a batch use the first entries of the
/// perturbation. The update itself crafts the examples, so `crafting_statistics` has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Free {
    /// Radius of the l-infinity ball and size of a step, in `[0, 1]`.
    pub epsilon: f64,
    /// Updates on each batch (the paper's m), at least 1.
    pub replays: usize,
}

impl Default for Free {
    /// Epsilon 0.03 and the paper's m = 4 for `ImageNet`.
    fn default() -> Self {
        Self { epsilon: 0.03, replays: 4 }
    }
}

impl Method for Free {
    fn name(&self) -> &'static str {
        "free"
    }

    fn title(&self) -> &'static str {
        "Free"
    }

    fn summary(&self) -> &'static str {
        "Each batch several times, with a perturbation that training's own gradients move."
    }

    fn validate(&self) -> Result<()> {
        check_radius(self.epsilon)?;
        if self.replays >= 1 {
            return Ok(());
        }
        Err(refuse("replays", 0.0, "must be at least 1; the paper has 4 or 8"))
    }

    /// All samples, on batch statistics: in algorithm 1 the gradient is that of the update.
    fn practice(&self) -> Practice {
        Practice::ALL
    }

    /// The perturbation follows the samples from update to update.
    fn takes_parts(&self) -> bool {
        false
    }

    fn cost(&self, _probability: f64, _pixels: usize) -> f64 {
        (3 * self.replays) as f64
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(Replay { config: *self, perturbation: None })
    }
}

/// Repeats each batch with a perturbation that follows the gradients of the training itself.
struct Replay {
    config: Free,
    perturbation: Option<Tensor>,
}

impl Replay {
    /// The perturbation's part for images of `shape`. It is zero where nothing was learned yet.
    fn part(&self, shape: &[usize], like: &Tensor) -> Result<Tensor> {
        let zeros = |count: usize| {
            let shape = [&[count], &shape[1..]].concat();
            Tensor::zeros(shape, DType::F32, like.device())
        };
        match self.perturbation.as_ref().filter(|known| known.dims()[1..] == shape[1..]) {
            None => Ok(zeros(shape[0])?),
            Some(known) if known.dims()[0] >= shape[0] => Ok(known.narrow(0, 0, shape[0])?),
            Some(known) => Ok(Tensor::cat(&[known, &zeros(shape[0] - known.dims()[0])?], 0)?),
        }
    }

    /// Moves the perturbation along the sign of the loss's `gradient` (N, 3, H, W) with respect to
    /// the examples, and keeps it inside the ball.
    fn learn(&mut self, gradient: &Tensor) -> Result<()> {
        let epsilon = self.config.epsilon;
        let part = self.part(gradient.dims(), gradient)?;
        let moved = (part + (gradient.sign()? * epsilon)?)?.clamp(-epsilon, epsilon)?;
        let count = gradient.dims()[0];
        let rest = self
            .perturbation
            .take()
            .filter(|known| known.dims()[1..] == gradient.dims()[1..] && known.dims()[0] > count);
        self.perturbation = Some(match rest {
            Some(known) => {
                let rest = known.narrow(0, count, known.dims()[0] - count)?;
                Tensor::cat(&[&moved, &rest], 0)?
            }
            None => moved,
        });
        Ok(())
    }
}

impl TrainingMethod for Replay {
    fn updates(&self) -> usize {
        self.config.replays
    }

    fn craft(&mut self, case: &Case<'_>, _random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let images = case.image();
        let image = (images + self.part(images.dims(), images)?)?.clamp(0_f32, 1_f32)?;
        let epsilon = Tensor::full(self.config.epsilon as f32, case.len(), images.device())?;
        Ok(Some(Adversarial { image, epsilon }))
    }

    fn wants_example_gradient(&self) -> bool {
        true
    }

    fn after_update(&mut self, example_gradient: Option<&Tensor>) -> Result<()> {
        example_gradient.map_or(Ok(()), |gradient| self.learn(gradient))
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let perturbation = self.perturbation.iter();
        perturbation.map(|perturbation| (PERTURBATION.to_owned(), perturbation.clone())).collect()
    }

    fn restore(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let perturbation = state.remove(PERTURBATION);
        no_more(state)?;
        self.perturbation = perturbation;
        Ok(())
    }
}
