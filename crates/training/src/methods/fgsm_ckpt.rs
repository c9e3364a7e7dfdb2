//! FGSM with checkpoints: Kim, Lee, Lee, *Understanding Catastrophic Overfitting in Single-step
//! Adversarial Training*, AAAI 2021.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Case, IGNORE_LABEL, check_share};
use robustseg_models::NormStatistics;
use robustseg_ops::predict;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::range::refuse;
use super::rs_fgsm::RsFgsm;
use crate::Result;
use crate::method::{Method, TrainingMethod};
use crate::practice::Practice;

/// Scales the perturbation of [`RsFgsm`] by the smallest `k / checkpoints`, k = 0, 1, ..., that
/// makes the image wrong. If no such scale does, the perturbation stays whole.
///
/// A classifier gets an image either right or wrong. Here an image is wrong if at least the share
/// `wrong` of its labelled pixels has a wrong prediction. An image that is wrong without a
/// perturbation stays clean (k = 0). The authors' program uses a different prediction for that
/// decision: the one at the random start, from the gradient's forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct FgsmCkpt {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of the step, in `(0, 1]`. The default is 1.25 times `epsilon`, as in the paper.
    pub alpha: Option<f64>,
    /// The number of parts of the perturbation (the paper's c), at least 1.
    pub checkpoints: usize,
    /// The share of labelled pixels, in `(0, 1]`, that must be wrong for an image to count as
    /// wrong.
    pub wrong: f64,
}

impl Default for FgsmCkpt {
    /// Epsilon 0.03, alpha 1.25 times epsilon, the paper's c = 3, and half of the pixels.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: None, checkpoints: 3, wrong: 0.5 }
    }
}

impl FgsmCkpt {
    fn direction(&self) -> RsFgsm {
        RsFgsm { epsilon: self.epsilon, alpha: self.alpha }
    }

    /// Whether each of `images` is wrong.
    fn is_wrong(&self, case: &Case<'_>, images: &Tensor) -> Result<Vec<bool>> {
        let (model, labels) = (case.model(), case.label());
        let (_, height, width) = labels.dims3()?;
        let prediction = predict(&model.logits(&images.detach())?, height, width, model.alignment())?;
        let pixels = height * width;
        let [prediction, labels] = [&prediction, labels].map(|map| map.flatten_all()?.to_vec1::<u8>());
        let wrong = |(prediction, labels): (&[u8], &[u8])| {
            let labelled = labels.iter().filter(|&&label| label != IGNORE_LABEL).count();
            let right =
                prediction.iter().zip(labels).filter(|(prediction, label)| prediction == label).count();
            (labelled - right) as f64 >= self.wrong * labelled as f64
        };
        Ok(prediction?.chunks_exact(pixels).zip(labels?.chunks_exact(pixels)).map(wrong).collect())
    }
}

impl Method for FgsmCkpt {
    fn name(&self) -> &'static str {
        "fgsm_ckpt"
    }

    fn title(&self) -> &'static str {
        "FGSM-CKPT"
    }

    fn summary(&self) -> &'static str {
        "The smallest part of an FGSM perturbation that gets the image wrong."
    }

    fn validate(&self) -> Result<()> {
        Method::validate(&self.direction())?;
        if self.checkpoints == 0 {
            return Err(refuse("checkpoints", 0.0, "must be at least 1; the paper has 3"));
        }
        Ok(check_share("wrong", self.wrong)?)
    }

    /// All samples, on running statistics, because the authors' program attacks and tests
    /// checkpoints in evaluation mode.
    fn practice(&self) -> Practice {
        Practice { statistics: NormStatistics::Running, ..Practice::ALL }
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * (2 + self.checkpoints) as f64
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(*self)
    }
}

impl TrainingMethod for FgsmCkpt {
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let images = case.image();
        let whole = self.direction().example(case, random)?;
        let perturbation = (&whole.image - images)?;
        let mut chosen: Vec<Option<(Tensor, usize)>> = vec![None; images.dim(0)?];
        for k in 0..self.checkpoints {
            if chosen.iter().all(Option::is_some) {
                break;
            }
            let share = k as f64 / self.checkpoints as f64;
            let part = (images + (&perturbation * share)?)?.clamp(0_f32, 1_f32)?;
            for (index, wrong) in self.is_wrong(case, &part)?.into_iter().enumerate() {
                if wrong && chosen[index].is_none() {
                    chosen[index] = Some((part.narrow(0, index, 1)?, k));
                }
            }
        }
        let (mut parts, mut shares) = (Vec::new(), Vec::new());
        for (index, chosen) in chosen.into_iter().enumerate() {
            let (part, k) = match chosen {
                Some(chosen) => chosen,
                None => (whole.image.narrow(0, index, 1)?, self.checkpoints),
            };
            parts.push(part);
            shares.push(k as f32 / self.checkpoints as f32);
        }
        let shares = Tensor::new(shares, images.device())?;
        Ok(Some(Adversarial { image: Tensor::cat(&parts, 0)?, epsilon: (whole.epsilon * shares)? }))
    }
}
