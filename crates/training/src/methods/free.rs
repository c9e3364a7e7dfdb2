//! Free adversarial training: Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor, Goldstein, *Adversarial
//! Training for Free!*, `NeurIPS` 2019.

use candle_core::{DType, Tensor};
use robustseg_attacks::{Adversarial, Model, check_epsilon};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{TrainingMethod, refuse};
use crate::Result;

/// Every batch is trained on `replays` times, and the same backward pass that gives the weights' gradients gives the
/// images': `delta = clip(delta + epsilon sign(gradient), -epsilon, epsilon)` (algorithm 1). The perturbation is kept
/// between replays and for the next batch, and starts at zero.
///
/// A step of training is one batch, that is `replays` updates at one learning rate; the paper divides the number of epochs
/// by `replays`. The drawn samples of a batch take the perturbation's first places. No example is crafted apart, so
/// `crafting_statistics` changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Free {
    /// Radius of the l-infinity ball, and size of a step, in `[0, 1]`.
    pub epsilon: f64,
    /// Updates on each batch (the paper's m), at least 1.
    pub replays: usize,
}

impl Default for Free {
    /// Epsilon 0.03, and the paper's m = 4 for `ImageNet`.
    fn default() -> Self {
        Self { epsilon: 0.03, replays: 4 }
    }
}

impl Free {
    /// Refuses settings out of range.
    pub(super) fn validate(&self) -> Result<()> {
        check_epsilon(self.epsilon)?;
        if self.replays >= 1 {
            return Ok(());
        }
        Err(refuse("replays", 0.0, "must be at least 1; the paper has 4 or 8"))
    }
}

/// Training on each batch several times with a perturbation that training's own gradients move.
pub struct Replay {
    config: Free,
    perturbation: Option<Tensor>,
}

impl Replay {
    pub(super) fn new(config: Free) -> Self {
        Self { config, perturbation: None }
    }

    /// Updates on each batch.
    pub(crate) fn times(&self) -> usize {
        self.config.replays
    }

    /// The perturbation (M, 3, H, W) as it is, if there is one yet.
    pub(crate) fn perturbation(&self) -> Option<&Tensor> {
        self.perturbation.as_ref()
    }

    /// Goes on with a saved perturbation.
    pub(crate) fn resume(&mut self, perturbation: Tensor) {
        self.perturbation = Some(perturbation);
    }

    /// The perturbation's part for images of `shape`, zero where there is none yet.
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

    /// Moves the perturbation along the sign of the loss' `gradient` (N, 3, H, W) with respect to the examples that it was
    /// part of, inside the ball.
    pub(crate) fn learn(&mut self, gradient: &Tensor) -> Result<()> {
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
    fn name(&self) -> &'static str {
        "free"
    }

    fn craft(
        &self,
        _model: &dyn Model,
        images: &Tensor,
        _labels: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        let image = (images + self.part(images.dims(), images)?)?.clamp(0_f32, 1_f32)?;
        let epsilon = Tensor::full(self.config.epsilon as f32, images.dim(0)?, images.device())?;
        Ok(Some(Adversarial { image, epsilon }))
    }

    fn replay(&self) -> Option<&Replay> {
        Some(self)
    }

    fn replay_mut(&mut self) -> Option<&mut Replay> {
        Some(self)
    }
}
