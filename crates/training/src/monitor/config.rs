//! The settings of the monitor, and its criteria for catastrophic overfitting.

use robustseg_attacks::{check_alpha, check_radius, check_steps};
use serde::{Deserialize, Serialize};

use super::Reading;
use crate::ranges::at_least_one;
use crate::{Error, Result};

/// The largest share of the training's cost that readings take by default. It keeps their share of
/// the time, which differs from cost, below a fiftieth.
const SHARE: f64 = 0.015;

/// A monitor of catastrophic overfitting: what it measures, how often, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// Steps between readings. The default makes all readings together take at most a fiftieth of
    /// the training's time. There is always a reading at the last step.
    pub every: Option<u64>,
    /// The number of samples in a reading. The samples are fixed: centre crops, evenly spaced over
    /// the training split.
    pub samples: usize,
    /// Size of FGSM's step, radius of BIM's ball, and magnitude of the noise for neighbours, in
    /// `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step of BIM, in `(0, 1]`.
    pub alpha: f64,
    /// Number of BIM's steps, at least 1.
    pub steps: usize,
    /// Number of parts of FGSM's step at which the loss is measured, at least 1.
    pub points: usize,
    /// Threshold of the sign `gap`: the network keeps this share of its clean mean IoU under FGSM,
    /// but less than this share of the FGSM score under BIM. It then only appears robust.
    pub gap: f64,
    /// Threshold of the sign `distortion`: along FGSM's step the loss falls again by this share of
    /// its largest rise, or it never rises.
    pub distortion: f64,
    /// Threshold of the sign `drop`: the pixel accuracy under BIM falls by more than this below
    /// that of the last reading without a sign.
    pub drop: f64,
    /// A network is at chance level if its clean mean IoU is below this multiple of the score of
    /// guessing on the samples. Readings at chance level have no sign, and do not count as readings
    /// without a sign.
    pub chance: f64,
    /// The number of consecutive readings with a sign that count as catastrophic overfitting, at
    /// least 1. A sign may pass before that.
    pub patience: usize,
    /// The consequence of catastrophic overfitting.
    pub then: Then,
}

/// The consequence of catastrophic overfitting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Training continues. Events, the progress line and the report mention it.
    #[default]
    Report,
    /// Training ends with the present weights.
    Stop,
    /// Training ends with the weights of the last reading without a sign, like the early stop of
    /// Wong et al. 2020. If there was no such reading, it ends with the present weights.
    RollBack,
}

/// Why a reading counts as catastrophic overfitting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The network appears robust under FGSM but not under BIM.
    Gap,
    /// Parts of FGSM's step do more harm than the whole: the distorted decision boundary of Kim et
    /// al. 2021. In segmentation no attack gets every pixel wrong, and this sign precedes a gap.
    Distortion,
    /// Robustness under BIM fell suddenly (Wong et al. 2020).
    Drop,
}

/// The verdict on a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The reading has a sign of catastrophic overfitting.
    Sign(Sign),
    /// The reading has no sign.
    NoSign,
    /// The clean network is at chance level. There is no robustness to lose or to feign.
    AtChance,
}

impl Default for MonitorConfig {
    /// Four samples, epsilon 0.03, BIM with ten steps of 0.004 as in the paper's evaluation, and a
    /// loss at every quarter. Gap and distortion are one half, and the drop of 0.2 is that of Wong
    /// et al. 2020. Chance is below twice the score of guessing, and the patience is two readings.
    fn default() -> Self {
        Self {
            every: None,
            samples: 4,
            epsilon: 0.03,
            alpha: 0.004,
            steps: 10,
            points: 4,
            gap: 0.5,
            distortion: 0.5,
            drop: 0.2,
            chance: 2.0,
            patience: 2,
            then: Then::default(),
        }
    }
}

impl MonitorConfig {
    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("monitor.samples", self.samples)?;
        at_least_one("monitor.points", self.points)?;
        at_least_one("monitor.patience", self.patience)?;
        let refuse = |field, reason: String| Err(Error::Setting { field, reason });
        if self.every == Some(0) {
            return refuse("monitor.every", "must be at least 1".into());
        }
        for (field, value) in
            [("monitor.gap", self.gap), ("monitor.distortion", self.distortion), ("monitor.drop", self.drop)]
        {
            if !(0.0..=1.0).contains(&value) {
                return refuse(field, format!("{value} is out of range, it must be from 0 to 1"));
            }
        }
        if !(self.chance.is_finite() && self.chance >= 0.0) {
            let reason = format!("{} is out of range, it must be a number of at least 0", self.chance);
            return refuse("monitor.chance", reason);
        }
        let named = |field, result: robustseg_attacks::Result<()>| match result {
            Ok(()) => Ok(()),
            Err(error) => refuse(field, error.to_string()),
        };
        named("monitor.epsilon", check_radius(self.epsilon))?;
        named("monitor.alpha", check_alpha(self.alpha))?;
        named("monitor.steps", check_steps(self.steps))
    }

    /// The cost of one reading, in forward passes of one sample. It counts gradients for FGSM, each
    /// step of BIM, the neighbour and Fast Newton, and predictions or losses on the clean image,
    /// along FGSM's step, and under BIM.
    pub fn cost(&self) -> f64 {
        (self.samples * (2 * (3 + self.steps) + 2 + self.points)) as f64
    }

    /// Whether a reading is due after `step` of `total` steps, each of which costs `step_cost`
    /// forward passes of one sample.
    pub(crate) fn is_due(&self, step_cost: f64, step: u64, total: u64) -> bool {
        if step == 0 {
            return false;
        }
        if let Some(every) = self.every {
            return step.is_multiple_of(every) || step == total;
        }
        let readings = ((SHARE * step_cost * total as f64 / self.cost()) as u64).clamp(1, total);
        // Evenly spaced, with the last one at the end.
        step * readings / total > (step - 1) * readings / total
    }

    /// The verdict on `reading`. `before` is the pixel accuracy under BIM at the last reading
    /// without a sign, if any.
    pub fn judge(&self, reading: &Reading, before: Option<f64>) -> Verdict {
        // With a single class, guessing is always right, and so is a perfect network.
        if reading.clean.miou < (self.chance * reading.chance).min(1.0) {
            return Verdict::AtChance;
        }
        self.sign(reading, before).map_or(Verdict::NoSign, Verdict::Sign)
    }

    fn sign(&self, reading: &Reading, before: Option<f64>) -> Option<Sign> {
        let losses = || reading.loss_along.iter().copied();
        let rise = |loss: f64| loss - losses().next().unwrap_or(0.0);
        let largest = rise(losses().fold(f64::NEG_INFINITY, f64::max));
        let left = rise(losses().last().unwrap_or(0.0));
        let [clean, fgsm, bim] = [reading.clean.miou, reading.fgsm.miou, reading.bim.miou];
        if before.is_some_and(|before| reading.bim.pixel_accuracy < before - self.drop) {
            Some(Sign::Drop)
        } else if fgsm >= self.gap * clean && bim < self.gap * fgsm {
            Some(Sign::Gap)
        } else if left < largest && left <= (1.0 - self.distortion) * largest {
            Some(Sign::Distortion)
        } else {
            None
        }
    }
}
