//! From a spec to what will be done: data found and opened, network and steps counted.

use std::path::Path;

use robustseg_datasets::{Dataset, Shared};
use robustseg_models::{NetworkConfig, Origin, TrainingOrigin, pretrained};
use robustseg_training::{Error as TrainingError, Identity};

use crate::data::{Data, of_split, pairs};
use crate::exit::{BadData, Usage};
use crate::provenance::{PretrainedProvenance, Provenance, file_sha256};
use crate::spec::{Spec, is_hub_name};
use crate::{checkpoint, identity, memory};

/// The weights of `source`. A hub's model that a run was `begun` from is not looked up again, and a file that is gone by
/// now is not missed: nothing is read from it when a run goes on.
fn pretrained_provenance(
    source: &str,
    begun: Option<&PretrainedProvenance>,
) -> anyhow::Result<PretrainedProvenance> {
    let begun = begun.filter(|begun| begun.source == source);
    if let Some(begun) = begun.filter(|_| is_hub_name(source) || !Path::new(source).exists()) {
        return Ok(begun.clone());
    }
    let sha256 = file_sha256(&pretrained::resolve(source)?)?;
    Ok(PretrainedProvenance { source: source.into(), sha256 })
}

/// What a spec amounts to.
pub struct Plan {
    /// The spec.
    pub spec: Spec,
    /// The network.
    pub model: NetworkConfig,
    /// The data.
    pub data: Data,
    /// The training split.
    pub train: Dataset,
    /// The validation split.
    pub validation: Dataset,
    /// The split of the evaluation.
    pub evaluation: Dataset,
    /// Steps of one epoch.
    pub steps_per_epoch: u64,
    /// Steps of the whole training.
    pub total_steps: u64,
}

/// An error of the training's settings, with the key of the spec.
fn of_training(error: TrainingError) -> anyhow::Error {
    match error {
        TrainingError::Setting { field, reason } => Usage(format!("training.{field}: {reason}")).into(),
        other => other.into(),
    }
}

impl Plan {
    /// Opens the data of `spec` and checks that it can be trained on.
    pub fn new(spec: Spec) -> anyhow::Result<Self> {
        let data = Data::find(&spec)?;
        let train = data.open(&spec.data.train_split)?;
        let validation = data.open(&spec.data.validation_split)?;
        let evaluation = data.open(spec.evaluation_split())?;
        let steps_per_epoch = spec.training.steps_per_epoch(train.len()).map_err(of_training)?;
        let total_steps = spec.training.total_steps(train.len()).map_err(of_training)?;
        let model = spec.network(data.num_classes());
        model.validate()?;
        Ok(Self { spec, model, data, train, validation, evaluation, steps_per_epoch, total_steps })
    }

    /// The splits that are used, each once.
    pub fn splits(&self) -> impl Iterator<Item = &Dataset> {
        let mut seen: Vec<&str> = Vec::new();
        [&self.train, &self.validation, &self.evaluation].into_iter().filter(move |dataset| {
            let new = !seen.contains(&dataset.split());
            seen.push(dataset.split());
            new
        })
    }

    /// Refuses to validate or evaluate on images that are trained on, whatever their names, unless the manifest says that
    /// these splits share samples on purpose.
    ///
    /// # Errors
    /// [`BadData`] with the images and how to allow it.
    pub fn require_disjoint(&self) -> Result<(), BadData> {
        self.shared_with_training().try_for_each(|(split, shared)| self.require_allowed(split, &shared))
    }

    /// Refuses that `split` has images of the training split, if the manifest does not allow it.
    pub(crate) fn require_allowed(&self, split: &str, shared: &Shared) -> Result<(), BadData> {
        let (manifest, train) = (&self.data.manifest, self.train.split());
        if manifest.may_overlap(train, split) {
            return Ok(());
        }
        let what = if train == split {
            format!("{train} is both the split to train on and the one to validate or evaluate on")
        } else {
            let (pairs, of) = (pairs(&shared.examples), self.scored(split).len());
            format!("{split} holds images of {train} ({} of {of}: {pairs})", shared.count)
        };
        let name = &manifest.name;
        Err(BadData(format!(
            "data {name}: {what}, so scores would be of what was learnt by heart. Take splits without common images; for a \
             test that wants this, write `may_overlap: [{train}]` into the split {split} of the manifest"
        )))
    }

    /// What speaks against the numbers of this plan, a sentence each: about the splits, and about what they share.
    pub fn warnings(&self) -> Vec<String> {
        self.splits()
            .flat_map(|split| of_split(split.split(), split.warnings()))
            .chain(self.overlaps())
            .collect()
    }

    /// What the manifest allows the splits to share, a sentence each.
    pub(crate) fn overlaps(&self) -> impl Iterator<Item = String> {
        self.shared_with_training().map(|(split, Shared { count, .. })| {
            let of = self.scored(split).len();
            format!("split {split}: its images ({count} of {of}) are trained on, as the manifest allows")
        })
    }

    /// The splits other than for training, each once, that have images of the training split, and those images.
    fn shared_with_training(&self) -> impl Iterator<Item = (&str, Shared)> {
        let evaluation = Some(&self.evaluation).filter(|split| split.split() != self.validation.split());
        let others = [Some(&self.validation), evaluation].into_iter().flatten();
        others.filter_map(|other| Some((other.split(), self.train.shared_with(other)?)))
    }

    /// The split that is validated or evaluated on and has this name.
    fn scored(&self, split: &str) -> &Dataset {
        if self.validation.split() == split { &self.validation } else { &self.evaluation }
    }

    /// The splits that decide the training, by the part that each plays in it.
    pub(crate) fn roles(&self) -> [(&str, &Dataset); 2] {
        [("train", &self.train), ("validation", &self.validation)]
    }

    /// Where the result comes from. Weights to start from are those that the run was `begun` from, if the spec names the
    /// same and they are not to be had any more.
    ///
    /// # Errors
    /// If the weights to start from cannot be had.
    pub(crate) fn provenance(&self, begun: Option<&PretrainedProvenance>) -> anyhow::Result<Provenance> {
        let source = self.spec.model.pretrained.as_ref();
        let pretrained = source.map(|source| pretrained_provenance(source, begun)).transpose()?;
        let sha256 = pretrained.as_ref().map(|weights| weights.sha256.as_str());
        let identity = identity::of_training(&self.spec, &self.data, &self.train, &self.validation, sha256);
        let provenance = Provenance::of(identity, &self.spec, &self.data, self.splits());
        Ok(Provenance { pretrained, ..provenance })
    }

    /// What the checkpoints of a training of `identity` say about themselves.
    pub(crate) fn origin(&self, identity: &Identity) -> Origin {
        let training = TrainingOrigin {
            method: self.spec.training.method.name().into(),
            seed: self.spec.seed,
            step: 0,
            spec_sha256: identity::without_seed(identity),
        };
        Origin { classes: Some(checkpoint::classes(&self.data.manifest)), training: Some(training) }
    }

    /// Trainable numbers of the network.
    pub fn parameters(&self) -> anyhow::Result<usize> {
        Ok(self.model.outline()?.parameter_count())
    }

    /// Multiply-adds of the whole training.
    pub fn training_cost(&self) -> anyhow::Result<u64> {
        let training = &self.spec.training;
        let crop = training.augmentation.crop;
        let forward = self.model.outline()?.multiply_adds(crop, crop);
        Ok((forward as f64 * training.step_cost() * self.total_steps as f64) as u64)
    }

    /// Bytes that a training step needs at least.
    pub fn training_memory(&self) -> anyhow::Result<u64> {
        let training = &self.spec.training;
        let crop = training.augmentation.crop;
        Ok(self.model.outline()?.training_memory(training.batch_size, crop, crop))
    }

    /// Bytes that the evaluation needs at least, on images of the size of the split's first.
    pub fn evaluation_memory(&self) -> anyhow::Result<u64> {
        memory::of_evaluation(&self.model, &self.spec.evaluation, &self.evaluation)
    }

    /// Asks for the memory that the plan needs on the CPU, so that it is missed now and not after a week.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::exit::OutOfMemory) with what to lower.
    pub fn require_memory(&self) -> anyhow::Result<()> {
        let lower = |keys: &[(&str, usize)]| {
            let keys = keys.iter().map(|(key, value)| format!("{key} ({value} now)")).collect::<Vec<_>>();
            format!("raise the limit, or lower {}", keys.join(", "))
        };
        let training = &self.spec.training;
        let batch_size = ("training.batch_size", training.batch_size);
        let crop = ("training.augmentation.crop", training.augmentation.crop);
        let (scale, value) = self.model.architecture.scale();
        let scale = format!("model.{scale}");
        let keys = [batch_size, crop, (&scale, value)];
        memory::require(self.training_memory()?, "a training step", &lower(&keys))?;
        memory::require_for_evaluation(&self.model, &self.spec.evaluation, &self.evaluation)
    }

    /// Multiply-adds of evaluating one image of the size of the split's first: a forward pass for each point, and an
    /// attack's gradients, at most one for each step of each point.
    pub fn evaluation_cost(&self) -> anyhow::Result<u64> {
        let first = self.evaluation.load(0)?;
        let forward = self.model.outline()?.multiply_adds(first.image.height, first.image.width);
        let passes = self.spec.evaluation.curves.iter().map(|curve| {
            let points = curve.epsilons().iter().filter(|epsilon| **epsilon > 0.0).count() as u64;
            let gradients = if points > 0 { curve.attack().backward_passes(points) } else { 0 };
            let examples = points * curve.attack().candidates().names().len().max(1) as u64;
            gradients.saturating_mul(2).saturating_add(examples)
        });
        let images = self
            .spec
            .evaluation
            .limit
            .map_or(self.evaluation.len(), |limit| limit.min(self.evaluation.len()));
        let passes = passes.fold(1, u64::saturating_add);
        Ok(forward.saturating_mul(passes).saturating_mul(images as u64))
    }
}
