//! `DDC-AT`: Xu, Zhao, Jia, *Dynamic Divide-and-Conquer Adversarial Training for Robust Semantic
//! Segmentation*, ICCV 2021.
//!
//! # Differences from the paper
//!
//! The division, the losses, the attack and the network used for inference follow the authors'
//! published code (`dvlab-research/Robust-Semantic-Segmentation`) wherever the text allows several
//! readings. Four points differ:
//!
//! - The drawn samples are adversarial, by default exactly half of each batch; the code takes the
//!   second half. With `adversarial_probability: 1` nothing is left to divide, and the mask branch
//!   learns to send every pixel to the main branch.
//! - The code has a fourth head on the third stage, for deep supervision with weight 0.4. Here that
//!   head belongs to the network and not to the method: `auxiliary_loss: 0.4` of a network adds it.
//!   By default the network lacks it (Wiens & Hammer train without it).
//! - While examples are crafted and samples divided, batch norm uses `crafting_statistics`. The
//!   default is running statistics, as in the code.
//! - The mask loss covers every pixel, including those without a label, as in the code. The paper
//!   does not say whether this is intended.

use candle_core::{DType, Tensor};
use robustseg_attacks::{Adversarial, Attack, Bim, Case, PixelObjective};
use robustseg_evaluation::Target;
use robustseg_models::{Branch, Network, NormStatistics};
use robustseg_ops::{Alignment, IGNORE_LABEL, pixel_objective_mean, predict};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::sign_steps::SignSteps;
use crate::method::{Forward, Loss, Method, TrainingMethod};
use crate::practice::Practice;
use crate::samples::Samples;
use crate::{Error, Result};

/// BIM on the main branch, in a network that is divided during training: a mask branch sends each
/// pixel to a main or an auxiliary branch.
///
/// The mask branch has its own cross-entropy over all pixels. It learns to send a pixel of a clean
/// image to the auxiliary branch if BIM changes its prediction. All other pixels, including those
/// of adversarial images, belong to the main branch. The main and the auxiliary branch learn from
/// the pixels that the mask branch sends them at present; no gradient flows through this choice.
/// After training, the main branch alone is the network, for evaluation and attacks.
///
/// BIM also runs on clean samples, because their division requires it, together with two additional
/// predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct DdcAt(pub SignSteps);

impl Method for DdcAt {
    fn name(&self) -> &'static str {
        "ddc_at"
    }

    fn title(&self) -> &'static str {
        "DDC-AT"
    }

    fn summary(&self) -> &'static str {
        "BIM, with pixels divided between branches of the network by its effect on them."
    }

    fn validate(&self) -> Result<()> {
        self.0.validate()
    }

    /// Exactly half of each batch, on running statistics, because the authors' program attacks in
    /// evaluation mode.
    fn practice(&self) -> Practice {
        Practice::EXACT_HALF
    }

    /// The loss is divided between branches.
    fn takes_loss(&self) -> bool {
        false
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        // Clean samples are attacked too, and predicted twice.
        3.0 + self.0.cost() + 2.0 * (1.0 - probability)
    }

    fn branches(&self, num_classes: usize) -> Vec<Branch> {
        vec![Branch::new("auxiliary", num_classes), Branch::new("mask", 2)]
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(Dividing { config: *self, division: None })
    }
}

impl DdcAt {
    /// The adversarial examples.
    fn examples(&self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Adversarial> {
        let SignSteps { epsilon, alpha, steps } = self.0;
        Ok(Bim { alpha, steps }.perturb(case, epsilon, random)?)
    }

    /// The branch of each pixel of the clean `images` (N, 3, H, W), u8 (N, H, W): 1 (auxiliary) if
    /// BIM changes its prediction, else 0.
    fn divide(
        &self,
        network: &Network,
        images: &Tensor,
        labels: &Tensor,
        statistics: NormStatistics,
        random: &mut dyn Rng,
    ) -> Result<Tensor> {
        let target = Target::new(network, statistics);
        let attacked = self.examples(&Case::new(&target, images, labels)?, random)?.image;
        let (_, height, width) = labels.dims3()?;
        let prediction = |images: &Tensor| -> Result<Tensor> {
            let logits = network.forward_branches(images, &mut statistics.mode())?;
            let BranchLogits { main, auxiliary, mask } = BranchLogits::try_from(logits)?;
            let [main, auxiliary, mask] =
                [main, auxiliary, mask].map(|logits| predict(&logits, height, width, network.alignment()));
            Ok(mask?.where_cond(&auxiliary?, &main?)?)
        };
        Ok(prediction(images)?.ne(&prediction(&attacked)?)?)
    }
}

/// The method in a running training.
struct Dividing {
    config: DdcAt,
    /// The branch of each pixel (N, H, W), u8, as the target of the mask branch.
    division: Option<Tensor>,
}

impl TrainingMethod for Dividing {
    fn prepare(&mut self, samples: &Samples<'_>) -> Result<()> {
        // All pixels of an adversarial sample belong to the main branch.
        let main = samples.labels().zeros_like()?;
        self.division = Some(match samples.clean()? {
            None => main,
            Some(clean) => {
                let (network, statistics) = (samples.network(), samples.statistics());
                let random = &mut samples.random("division");
                let divided = self.config.divide(network, &clean.images, &clean.labels, statistics, random);
                clean.put_into(&main, &divided.map_err(|error| clean.named(error))?)?
            }
        });
        Ok(())
    }

    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        self.config.examples(case, random).map(Some)
    }

    fn loss(&mut self, forward: &mut Forward<'_>) -> Result<Option<Loss>> {
        let logits = BranchLogits::try_from(forward.branch_logits()?)?;
        let division = self.division.take().ok_or_else(|| Error::Mismatch {
            what: "division of the pixels".into(),
            expected: "that of the prepared samples".into(),
            actual: "nothing".into(),
        })?;
        let alignment = forward.network().alignment();
        let DividedLoss { pixels, mask } = DividedLoss::of(&logits, forward.labels(), &division, alignment)?;
        Ok(Some(Loss { value: pixels, additional: Some(mask) }))
    }
}

/// Small logits of the network's three heads, channels last.
struct BranchLogits {
    /// The main head (N, h, w, K), which alone is the network after training.
    main: Tensor,
    /// The auxiliary branch (N, h, w, K).
    auxiliary: Tensor,
    /// The mask branch (N, h, w, 2): channel 1 sends pixels to the auxiliary branch.
    mask: Tensor,
}

impl TryFrom<Vec<Tensor>> for BranchLogits {
    type Error = Error;

    fn try_from(logits: Vec<Tensor>) -> Result<Self> {
        let [main, auxiliary, mask] = logits.try_into().map_err(|logits: Vec<Tensor>| Error::Mismatch {
            what: "network of ddc_at".into(),
            expected: "3 heads".into(),
            actual: logits.len().to_string(),
        })?;
        Ok(Self { main, auxiliary, mask })
    }
}

/// The two losses of a divided network, as scalars.
struct DividedLoss {
    /// Mean cross-entropy over the labelled pixels of the batch, each in the branch that receives
    /// it.
    pixels: Tensor,
    /// Mean cross-entropy of the mask branch over all pixels.
    mask: Tensor,
}

impl DividedLoss {
    /// The losses of `logits` for `labels` and `division`, the target of the mask branch, both u8
    /// (N, H, W).
    fn of(logits: &BranchLogits, labels: &Tensor, division: &Tensor, alignment: Alignment) -> Result<Self> {
        let BranchLogits { main, auxiliary, mask } = logits;
        let (_, height, width) = labels.dims3()?;
        let sent = predict(mask, height, width, alignment)?;
        let none = labels.ones_like()?.affine(f64::from(IGNORE_LABEL), 0.0)?;
        let labelled = |labels: &Tensor| -> Result<f64> {
            let labelled = labels.ne(IGNORE_LABEL)?.to_dtype(DType::F32)?;
            Ok(f64::from(labelled.sum_all()?.to_scalar::<f32>()?))
        };
        let all = labelled(labels)?.max(1.0);
        let objective = PixelObjective::CrossEntropy;
        let part = |logits: &Tensor, labels: &Tensor| -> Result<Tensor> {
            // A tensor, because candle gives a branch multiplied by the number zero no gradient
            // instead of a zero gradient.
            let share = Tensor::new((labelled(labels)? / all) as f32, labels.device())?;
            Ok((pixel_objective_mean(logits, labels, objective, alignment)? * share)?)
        };
        let main = part(main, &sent.where_cond(&none, labels)?)?;
        let auxiliary = part(auxiliary, &sent.where_cond(labels, &none)?)?;
        let mask = pixel_objective_mean(mask, division, objective, alignment)?;
        Ok(Self { pixels: (main + auxiliary)?, mask })
    }
}

#[cfg(test)]
mod tests;
