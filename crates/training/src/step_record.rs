//! The record of a training step.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The record of one training step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step, from 0.
    pub step: u64,
    /// The loss of the batch before the update, by default the mean cross-entropy over its labelled
    /// pixels, without that of an auxiliary head. For a method with replays, the mean over them.
    pub loss: f32,
    /// The additional term that the method minimised, if any, weighted as in the loss. An example
    /// is the mask branch's cross-entropy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// The backbone's learning rate.
    pub learning_rate: f64,
    /// Samples in the batch.
    pub images: usize,
    /// Samples that were replaced by adversarial examples.
    pub attacked: usize,
    /// Mean epsilon of the attacked samples, if there are any.
    pub epsilon_mean: Option<f64>,
    /// The epsilon of each attacked sample, in the order of the batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epsilons: Vec<f32>,
    /// The time by part.
    pub seconds: Seconds,
}

/// Seconds by part of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Waiting for the batch and its transfer to the device.
    pub data: f64,
    /// Crafting adversarial examples, and the method's penalty if there is one.
    pub attack: f64,
    /// From images to loss. Where a GPU repeats the whole pass from a recording, `backward` has its time.
    pub forward: f64,
    /// From loss to gradients.
    pub backward: f64,
    /// From gradients to weights.
    pub optimiser: f64,
}

impl Seconds {
    /// The sum of the parts.
    pub fn total(&self) -> f64 {
        self.data + self.attack + self.forward + self.backward + self.optimiser
    }
}

impl AddAssign for Seconds {
    fn add_assign(&mut self, other: Self) {
        self.data += other.data;
        self.attack += other.attack;
        self.forward += other.forward;
        self.backward += other.backward;
        self.optimiser += other.optimiser;
    }
}
