//! Adversarial training methods: how the training examples of a step are made.
//!
//! The paper's five are `basic` and four attacks of `robustseg-attacks`; each other method is a file here, named as
//! its paper names it.

mod ddc_at;
mod fgsm_ckpt;
mod free;
mod grad_align;
mod n_fgsm;
mod noise;
mod pgd_at;
mod pixel_newton;
mod practice;
mod rs_fgsm;
mod segpgd_at;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use robustseg_attacks::{Adversarial, Attack, AttackConfig, Bim, FastNewton, Fgsm, Model, RandomFgsm};
use robustseg_models::{Branch, PspNet};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use ddc_at::DdcAt;
pub(crate) use ddc_at::{BranchLogits, DividedLoss};
pub use fgsm_ckpt::FgsmCkpt;
pub use free::{Free, Replay};
pub use grad_align::GradAlign;
pub use n_fgsm::NFgsm;
pub(crate) use noise::noisy;
pub use pgd_at::PgdAt;
pub use pixel_newton::PixelNewton;
pub use practice::Practice;
pub use rs_fgsm::RsFgsm;
pub use segpgd_at::SegPgdAt;

/// One way to make training examples.
pub trait TrainingMethod {
    /// The method's name in specs, on the command line and in results.
    fn name(&self) -> &'static str;

    /// Adversarial examples for the drawn samples: `images` (N, 3, H, W), f32 in `[0, 1]`, with `labels`
    /// (N, H, W), u8. `None` if the method trains on clean samples alone.
    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>>;

    /// What is minimised beside the loss, for the drawn samples as they are: most methods have nothing.
    fn penalty(
        &self,
        _network: &PspNet,
        _images: &Tensor,
        _labels: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Option<Penalty>> {
        Ok(None)
    }

    /// The division of pixels between branches of the network: most methods have one branch.
    fn division(&self) -> Option<&DdcAt> {
        None
    }

    /// The replay of a method that trains on each batch several times: most do so once.
    fn replay(&self) -> Option<&Replay> {
        None
    }

    /// The same, to be changed.
    fn replay_mut(&mut self) -> Option<&mut Replay> {
        None
    }
}

/// What a method adds to the loss.
pub struct Penalty {
    /// Its value, weighted as it is added.
    pub value: f64,
    /// Its gradients with respect to the network's trainable parameters; one that is missing is zero.
    pub gradients: GradStore,
}

/// Training on clean samples alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basic;

impl TrainingMethod for Basic {
    fn name(&self) -> &'static str {
        "basic"
    }

    fn craft(
        &self,
        _model: &dyn Model,
        _images: &Tensor,
        _labels: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        Ok(None)
    }
}

/// Every attack is a training method: the drawn samples are replaced by its adversarial examples (eq. 13 of
/// Wiens & Hammer 2022).
impl<A: Attack> TrainingMethod for A {
    fn name(&self) -> &'static str {
        Attack::name(self)
    }

    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        Ok(Some(self.perturb(model, images, labels, random)?))
    }
}

/// A training method with its settings, as a spec names it: `basic`, or `fgsm: {epsilon: 0.03}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MethodConfig {
    /// Clean samples alone.
    Basic,
    /// FGSM with a fixed step size.
    Fgsm(Fgsm),
    /// FGSM with a random step size.
    RandomFgsm(RandomFgsm),
    /// The basic iterative method.
    Bim(Bim),
    /// The Fast Newton method.
    FastNewton(FastNewton),
    /// FGSM from a random start in the ball.
    RsFgsm(RsFgsm),
    /// FGSM around a noisy image, not clipped to a ball.
    NFgsm(NFgsm),
    /// The smallest part of an FGSM perturbation that gets the image wrong.
    FgsmCkpt(FgsmCkpt),
    /// FGSM, with gradients that are to point one way nearby.
    GradAlign(GradAlign),
    /// Each batch several times, with a perturbation that training's own gradients move.
    Free(Free),
    /// PGD adversarial training.
    PgdAt(PgdAt),
    /// `SegPGD` adversarial training.
    #[serde(rename = "segpgd_at")]
    SegPgdAt(SegPgdAt),
    /// BIM, and pixels divided between branches of the network by what it does to them.
    DdcAt(DdcAt),
    /// The mean of Fast Newton's examples for each pixel alone.
    PixelNewton(PixelNewton),
}

impl MethodConfig {
    /// The paper's five, with the paper's settings.
    pub fn paper() -> [Self; 5] {
        [
            Self::Basic,
            Self::Fgsm(Fgsm::default()),
            Self::RandomFgsm(RandomFgsm::default()),
            Self::Bim(Bim::default()),
            Self::FastNewton(FastNewton::default()),
        ]
    }

    /// Every method, the paper's first, with its default settings.
    pub fn all() -> Vec<Self> {
        let others = [
            Self::RsFgsm(RsFgsm::default()),
            Self::NFgsm(NFgsm::default()),
            Self::FgsmCkpt(FgsmCkpt::default()),
            Self::GradAlign(GradAlign::default()),
            Self::Free(Free::default()),
            Self::PgdAt(PgdAt::default()),
            Self::SegPgdAt(SegPgdAt::default()),
            Self::DdcAt(DdcAt::default()),
            Self::PixelNewton(PixelNewton::default()),
        ];
        [&Self::paper()[..], &others].concat()
    }

    /// The method's name.
    pub fn name(&self) -> &'static str {
        self.strategy().name()
    }

    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<()> {
        let attack = match *self {
            Self::Basic => return Ok(()),
            Self::Fgsm(attack) => AttackConfig::Fgsm(attack),
            Self::RandomFgsm(attack) => AttackConfig::RandomFgsm(attack),
            Self::Bim(attack) => AttackConfig::Bim(attack),
            Self::FastNewton(attack) => AttackConfig::FastNewton(attack),
            Self::PixelNewton(method) => AttackConfig::FastNewton(method.step()),
            Self::PgdAt(method) => AttackConfig::Pgd(method.attack()),
            Self::SegPgdAt(method) => AttackConfig::SegPgd(method.attack()),
            Self::DdcAt(method) => AttackConfig::Bim(method.attack()),
            Self::RsFgsm(method) => return method.validate(),
            Self::NFgsm(method) => return method.validate(),
            Self::FgsmCkpt(method) => return method.validate(),
            Self::GradAlign(method) => return method.validate(),
            Self::Free(method) => return method.validate(),
        };
        Ok(attack.validate()?)
    }

    /// The method itself.
    pub fn strategy(&self) -> Box<dyn TrainingMethod + Send> {
        match *self {
            Self::Basic => Box::new(Basic),
            Self::Fgsm(attack) => Box::new(attack),
            Self::RandomFgsm(attack) => Box::new(attack),
            Self::Bim(attack) => Box::new(attack),
            Self::FastNewton(attack) => Box::new(attack),
            Self::RsFgsm(method) => Box::new(method),
            Self::NFgsm(method) => Box::new(method),
            Self::FgsmCkpt(method) => Box::new(method),
            Self::GradAlign(method) => Box::new(method),
            Self::Free(method) => Box::new(Replay::new(method)),
            Self::PgdAt(method) => Box::new(method),
            Self::SegPgdAt(method) => Box::new(method),
            Self::DdcAt(method) => Box::new(method),
            Self::PixelNewton(method) => Box::new(method),
        }
    }

    /// The branches that the method needs in a network of `num_classes` classes.
    pub fn branches(&self, num_classes: usize) -> Vec<Branch> {
        self.strategy().division().map_or(Vec::new(), |_| DdcAt::branches(num_classes))
    }

    /// Work of a training step for one sample of `pixels` pixels that is attacked with `probability`, in forward passes:
    /// an update on clean samples is three, an attack's gradient two. What a divided network's further branches cost is left out.
    pub fn passes(&self, probability: f64, pixels: usize) -> f64 {
        let attack = match *self {
            Self::Basic => 0,
            Self::Free(Free { replays, .. }) => return (3 * replays) as f64,
            // Beside FGSM's gradient two of images and four of weights.
            Self::GradAlign(_) => 2 + 2 * 2 + 4 * 3,
            Self::Fgsm(_) | Self::RandomFgsm(_) | Self::FastNewton(_) | Self::RsFgsm(_) | Self::NFgsm(_) => 2,
            Self::Bim(Bim { steps, .. })
            | Self::PgdAt(PgdAt { steps, .. })
            | Self::SegPgdAt(SegPgdAt { steps, .. }) => 2 * steps,
            Self::FgsmCkpt(method) => 2 + method.checkpoints,
            Self::PixelNewton(_) => 2 * pixels,
            // Clean samples are attacked as well, and predicted twice.
            Self::DdcAt(DdcAt { steps, .. }) => {
                return 3.0 + (2 * steps) as f64 + 2.0 * (1.0 - probability);
            }
        };
        3.0 + probability * attack as f64
    }
}

/// The error for a setting of a method that is out of range.
fn refuse(setting: &'static str, value: f64, reason: &str) -> Error {
    robustseg_attacks::Error::Setting { setting, value, reason: reason.into() }.into()
}
