//! The settings of a training.

use std::ops::Range;
use std::path::PathBuf;

use robustseg_attacks::AttackConfig;
use robustseg_datasets::{AugmentationConfig, Dataset, Loader, LoaderOptions, OnBadSample};
use robustseg_models::NormStatistics;
use robustseg_words::counted;
use serde::{Deserialize, Serialize};

use crate::average::AverageConfig;
use crate::losses::{Criterion, LossConfig};
use crate::method_config::MethodConfig;
use crate::monitor::MonitorConfig;
use crate::optimisers::{Common, OptimiserConfig};
use crate::practice::{AdversarialDraw, Practice};
use crate::ranges::{at_least_one, check};
use crate::schedules::ScheduleConfig;
use crate::{Error, Result};

/// All settings of a training except the model, the data and the seed. The defaults are the
/// paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// How training examples are crafted.
    pub method: MethodConfig,
    /// Passes over the training split.
    pub epochs: usize,
    /// Samples per batch, for which the weights are updated once.
    #[serde(default = "default::batch_size")]
    pub batch_size: usize,
    /// The number of equal parts of a batch that go through the network one after the other. Their
    /// gradients are added, weighted by labelled pixels, so that a step needs the memory of a part.
    /// Batch norm uses the statistics of each part, and its running statistics move once for each.
    /// Every part is attacked on the running statistics from before the step.
    #[serde(default = "default::accumulate", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Whether to raise `accumulate` until a step fits the memory. The caller does it, before the
    /// training starts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fit_memory: bool,
    /// Whether the backward pass computes the maps inside the backbone's blocks again instead of keeping
    /// them. The weights are the same, bit for bit. A training step takes a forward pass more, and about
    /// half the memory for maps. Attacks do the same where more than half of the samples are attacked,
    /// because they need less memory than the step otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recompute: bool,
    /// The loss to minimise. The auxiliary head of a network minimises it too. Attacks climb
    /// objectives of their own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss: LossConfig,
    /// Probability of replacing a sample by its adversarial example. The default is that of the
    /// method ([`Method::practice`](crate::Method::practice)).
    #[serde(default)]
    pub adversarial_probability: Option<f64>,
    /// Whether each sample is drawn separately or one draw decides for the whole batch. The default
    /// is that of the method.
    #[serde(default)]
    pub adversarial_draw: Option<AdversarialDraw>,
    /// The norm statistics in use while adversarial examples are crafted. The default is that of
    /// the method.
    #[serde(default)]
    pub crafting_statistics: Option<NormStatistics>,
    /// Learning rate of the backbone at the first step.
    #[serde(default = "default::learning_rate")]
    pub learning_rate: f64,
    /// Factor on the learning rate for all parameters outside the backbone.
    #[serde(default = "default::head_learning_rate_factor")]
    pub head_learning_rate_factor: f64,
    /// Epochs, or parts of one, over which the learning rate rises linearly from near 0, on top of
    /// the schedule. At most `epochs`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warm_up_epochs: f64,
    /// How the learning rate changes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: ScheduleConfig,
    /// Exponent of the polynomial decay: rate = base * (1 - step / total)^power.
    #[serde(default = "default::power")]
    pub power: f64,
    /// The optimiser.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optimiser: OptimiserConfig,
    /// Momentum of SGD.
    #[serde(default = "default::momentum")]
    pub momentum: f64,
    /// Weight decay: L2 in SGD, decoupled in `AdamW`.
    #[serde(default = "default::weight_decay")]
    pub weight_decay: f64,
    /// Whether to decay the weights and biases of batch norm and the classifier's bias too.
    #[serde(default = "default::decay_norm_and_bias")]
    pub decay_norm_and_bias: bool,
    /// The largest l2 norm of the gradient of all weights. A longer gradient is scaled down to it. By
    /// default gradients keep their length.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clip_gradient: Option<f64>,
    /// Probability of dropping a channel before the classifier, or an element where the network's
    /// authors drop elements. With 0 the network drops nothing, apart from the branches that its
    /// own `drop_path` leaves out.
    #[serde(default = "default::dropout")]
    pub dropout: f64,
    /// A moving average of the weights, to validate and evaluate in place of the last ones. Off by
    /// default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub average: Option<AverageConfig>,
    /// A checkpoint of the whole network to start from, instead of random weights. Its network must be
    /// that of the training, apart from classes and branches, whose weights then stay random. The
    /// caller loads it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: Option<PathBuf>,
    /// Random changes of the training samples.
    #[serde(default)]
    pub augmentation: AugmentationConfig,
    /// Epochs between validations. 0 validates only after the last epoch.
    #[serde(default = "default::validate_every")]
    pub validate_every: usize,
    /// The number of validation samples that a validation uses. The default is all.
    #[serde(default)]
    pub validation_limit: Option<usize>,
    /// An attack under which validations score the network too, on the same samples. The best
    /// weights are then those with the highest mean IoU under it. By default validations are on clean
    /// images alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub validate_under: Option<AttackConfig>,
    /// The number of best weights to keep. If it is more than one, they are in
    /// `best_STEP.safetensors`.
    #[serde(default = "default::keep_best", skip_serializing_if = "is_one")]
    pub keep_best: usize,
    /// Early stopping: ends the training after so many validations in a row without a new best. Off
    /// by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub patience: Option<usize>,
    /// The number of steps that may be skipped because their loss, a gradient or an attack's
    /// objective is not finite. A skipped step leaves the weights unchanged. One more such step
    /// ends the training; by default that is the first.
    #[serde(default)]
    pub skip_not_finite: u64,
    /// Steps between saved states. 0 saves only at the end and on interruption.
    #[serde(default = "default::checkpoint_every")]
    pub checkpoint_every: u64,
    /// Monitors the training for catastrophic overfitting. Off by default.
    #[serde(default)]
    pub monitor: Option<MonitorConfig>,
}

/// Settings that are off are left out of resolved specs.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(value: &usize) -> bool {
    *value == 1
}

mod default {
    pub(super) fn batch_size() -> usize {
        16
    }
    pub(super) fn accumulate() -> usize {
        1
    }
    pub(super) fn learning_rate() -> f64 {
        0.01
    }
    pub(super) fn head_learning_rate_factor() -> f64 {
        10.0
    }
    pub(super) fn power() -> f64 {
        0.9
    }
    pub(super) fn momentum() -> f64 {
        0.9
    }
    pub(super) fn weight_decay() -> f64 {
        1e-4
    }
    pub(super) fn decay_norm_and_bias() -> bool {
        true
    }
    pub(super) fn dropout() -> f64 {
        0.1
    }
    pub(super) fn validate_every() -> usize {
        1
    }
    pub(super) fn keep_best() -> usize {
        1
    }
    pub(super) fn checkpoint_every() -> u64 {
        500
    }
}

impl TrainingConfig {
    /// The paper's training with `method` over `epochs`, with the method's own share and
    /// statistics.
    pub fn new(method: impl Into<MethodConfig>, epochs: usize) -> Self {
        Self {
            method: method.into(),
            epochs,
            batch_size: default::batch_size(),
            accumulate: default::accumulate(),
            fit_memory: false,
            recompute: false,
            loss: LossConfig::default(),
            adversarial_probability: None,
            adversarial_draw: None,
            crafting_statistics: None,
            learning_rate: default::learning_rate(),
            head_learning_rate_factor: default::head_learning_rate_factor(),
            warm_up_epochs: 0.0,
            schedule: ScheduleConfig::default(),
            power: default::power(),
            optimiser: OptimiserConfig::default(),
            momentum: default::momentum(),
            weight_decay: default::weight_decay(),
            decay_norm_and_bias: default::decay_norm_and_bias(),
            clip_gradient: None,
            dropout: default::dropout(),
            average: None,
            from: None,
            augmentation: AugmentationConfig::default(),
            validate_every: default::validate_every(),
            validation_limit: None,
            validate_under: None,
            keep_best: default::keep_best(),
            patience: None,
            skip_not_finite: 0,
            checkpoint_every: default::checkpoint_every(),
            monitor: None,
        }
    }

    /// How adversarial examples enter the training. Settings that are not given follow the method's
    /// authors.
    pub fn practice(&self) -> Practice {
        let own = self.method.practice();
        Practice {
            probability: self.adversarial_probability.unwrap_or(own.probability),
            draw: self.adversarial_draw.unwrap_or(own.draw),
            statistics: self.crafting_statistics.unwrap_or(own.statistics),
        }
    }

    /// The cost of a training step, in forward passes of one sample.
    pub fn step_cost(&self) -> f64 {
        let pixels = self.augmentation.crop.pixels();
        self.method.cost(self.practice().probability, pixels) * self.batch_size as f64
    }

    /// Fills in the settings that follow from the method.
    pub fn resolve(&mut self) {
        let Practice { probability, draw, statistics } = self.practice();
        self.adversarial_probability = Some(probability);
        self.adversarial_draw = Some(draw);
        self.crafting_statistics = Some(statistics);
    }

    /// Steps per epoch over `samples` training samples. Samples that do not fill a batch are left
    /// for another epoch.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are fewer samples than a batch needs.
    pub fn steps_per_epoch(&self, samples: usize) -> Result<u64> {
        if self.batch_size == 0 || samples < self.batch_size {
            let samples = counted(samples, "sample");
            let reason = format!("{} is 0 or more than the {samples} of the training split", self.batch_size);
            return Err(Error::Setting { field: "batch_size", reason });
        }
        Ok((samples / self.batch_size) as u64)
    }

    /// Steps of the whole training over `samples` training samples.
    ///
    /// # Errors
    /// The errors of [`TrainingConfig::steps_per_epoch`], and a number of steps that overflows.
    pub fn total_steps(&self, samples: usize) -> Result<u64> {
        self.steps_per_epoch(samples)?.checked_mul(self.epochs as u64).ok_or_else(|| Error::Setting {
            field: "epochs",
            reason: format!("{} are more steps than can be counted", self.epochs),
        })
    }

    /// The training batches of `steps` from `train`. Areas outside an image get the colour `fill`
    /// in `[0, 1]`, the mean that the model subtracts. The settings decide whether missing or
    /// broken samples end the training or are skipped.
    ///
    /// # Errors
    /// [`Error::Data`] if augmentation is out of range or the split is smaller than a batch.
    pub fn loader(
        &self,
        train: &Dataset,
        seed: u64,
        fill: [f32; 3],
        steps: Range<u64>,
        on_bad_sample: OnBadSample,
    ) -> Result<Loader> {
        let (batch_size, augmentation) = (self.batch_size, self.augmentation.clone());
        let options = LoaderOptions { batch_size, seed, augmentation, fill, steps, on_bad_sample };
        Ok(Loader::new(train, options)?)
    }

    /// What optimisers share.
    pub(crate) fn common(&self) -> Common {
        Common { momentum: self.momentum }
    }

    /// Copies of weights that the training keeps in addition to one velocity and one gradient for
    /// each weight.
    pub fn additional_copies(&self) -> usize {
        let sums = usize::from(self.accumulate > 1);
        self.optimiser.get().quantities().len() - 1 + usize::from(self.average.is_some()) + sums
    }

    /// Refuses weights of classes that are not one for each of `classes`.
    ///
    /// # Errors
    /// [`Error::Setting`] with the loss.
    pub fn require_classes(&self, classes: usize) -> Result<()> {
        Criterion::new(&self.loss, classes).map(drop)
    }

    /// The numbers of parts, from `accumulate` on, into which a batch may be split. No part has less
    /// than two samples, because batch norm needs several values for each channel.
    pub fn possible_parts(&self) -> impl Iterator<Item = usize> {
        let (size, least) = (self.batch_size, self.accumulate);
        (least..=size).filter(move |parts| {
            let enough = *parts == least || size / parts >= 2;
            size.is_multiple_of(*parts) && enough && (*parts == 1 || self.method.takes_parts())
        })
    }

    /// Refuses a loss and an accumulation out of range, or that the method cannot have.
    fn validate_loss(&self) -> Result<()> {
        self.loss.validate()?;
        let (method, refuse) = (self.method.name(), |field, reason| Err(Error::Setting { field, reason }));
        if !self.loss.is_plain() && !self.method.takes_loss() {
            let reason = format!(
                "the method {method} trains by the cross-entropy; leave loss out, or take another method"
            );
            return refuse("loss", reason);
        }
        at_least_one("accumulate", self.accumulate)?;
        if !self.batch_size.is_multiple_of(self.accumulate) {
            let (parts, size) = (self.accumulate, self.batch_size);
            return refuse("accumulate", format!("{parts} does not divide the batch_size of {size}"));
        }
        if self.accumulate > 1 && !self.method.takes_parts() {
            let reason =
                format!("the method {method} needs a batch as a whole; take a smaller batch_size instead");
            return refuse("accumulate", reason);
        }
        let clip = self.clip_gradient.unwrap_or(1.0);
        check("clip_gradient", clip, clip > 0.0, "must be above 0")
    }

    /// Refuses settings of the method out of range.
    fn validate_method(&self) -> Result<()> {
        let method = self.method.name();
        self.method.validate().map_err(|error| match error {
            Error::Attack(source) => Error::Method { method, source },
            other => other,
        })
    }

    fn validate_selection(&self) -> Result<()> {
        let refuse = |field, reason: String| Err(Error::Setting { field, reason });
        if let Some(attack) = &self.validate_under
            && let Err(error) = attack.curve().validate()
        {
            return refuse("validate_under", format!("{}: {error}", attack.name()));
        }
        at_least_one("keep_best", self.keep_best)?;
        let Some(patience) = self.patience else { return Ok(()) };
        at_least_one("patience", patience)?;
        if self.validate_every == 0 {
            let reason =
                "there is one validation, at the end, because validate_every is 0; it ends no training early";
            return refuse("patience", reason.into());
        }
        let validations = self.epochs / self.validate_every;
        if patience >= validations {
            let validations = counted(validations, "validation");
            let reason =
                format!("{patience} is never reached in {validations}: the first one is always the best");
            return refuse("patience", reason);
        }
        Ok(())
    }

    /// Refuses settings out of range and reports the first. Augmentation is checked separately.
    pub fn validate(&self) -> Result<()> {
        self.validate_method()?;
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch_size", self.batch_size)?;
        self.validate_loss()?;
        if let Some(limit) = self.validation_limit {
            at_least_one("validation_limit", limit)?;
        }
        self.validate_selection()?;
        if let Some(monitor) = &self.monitor {
            monitor.validate()?;
        }
        self.optimiser.get().validate(self.common())?;
        self.schedule.get().validate(self.epochs)?;
        if let Some(average) = self.average {
            average.validate()?;
        }
        let (warm_up, range) = (self.warm_up_epochs, format!("must be from 0 to the {} epochs", self.epochs));
        check("warm_up_epochs", warm_up, (0.0..=self.epochs as f64).contains(&warm_up), &range)?;
        let unit = "must be from 0 to 1";
        let below_one = "must be at least 0 and below 1";
        let p = self.practice().probability;
        check("adversarial_probability", p, (0.0..=1.0).contains(&p), unit)?;
        check("learning_rate", self.learning_rate, self.learning_rate > 0.0, "must be above 0")?;
        let factor = self.head_learning_rate_factor;
        check("head_learning_rate_factor", factor, factor > 0.0, "must be above 0")?;
        check("power", self.power, self.power >= 0.0, "must be at least 0")?;
        check("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), below_one)?;
        check("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "must be at least 0")?;
        check("dropout", self.dropout, (0.0..1.0).contains(&self.dropout), below_one)
    }
}

#[cfg(test)]
mod tests;
