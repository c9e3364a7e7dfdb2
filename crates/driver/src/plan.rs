//! From a spec to what will be done: data found and opened, network and steps counted.

use std::fmt::Display;
use std::path::Path;

use robustseg_datasets::{Dataset, Shared};
use robustseg_evaluation::{Protocol, Views};
use robustseg_models::{NetworkConfig, Origin, TrainingOrigin, pretrained};
use robustseg_training::{Error as TrainingError, Identity};

use crate::data::{Data, of_split, pairs};
use crate::exit::{BadData, Usage};
use crate::provenance::{PretrainedProvenance, Provenance, file_sha256};
use crate::spec::{Spec, is_hub_name};
use crate::{checkpoint, identity, memory};

/// The weights of `source`. If the run was `begun` from a model of the hub, it is not looked up
/// again, and a deleted file is not missed: a resumed run does not read it.
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

/// The checkpoint at `path`. If the run was `begun` from it, a deleted file is not missed.
fn checkpoint_provenance(
    path: &Path,
    begun: Option<&PretrainedProvenance>,
) -> anyhow::Result<PretrainedProvenance> {
    let source = path.display().to_string();
    if let Some(begun) = begun.filter(|begun| begun.source == source && !path.exists()) {
        return Ok(begun.clone());
    }
    Ok(PretrainedProvenance { source, sha256: file_sha256(path)? })
}

/// The work that a spec describes.
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

/// An error of the training's settings, with the key in the spec.
fn of_training(error: TrainingError) -> anyhow::Error {
    match error {
        TrainingError::Setting { field, reason } => Usage(format!("training.{field}: {reason}")).into(),
        other => other.into(),
    }
}

/// Refuses a crop, and views of the evaluation's images, that are too small for the network. The
/// evaluation's images are taken to be as large as the first.
fn require_sizes(spec: &Spec, model: &NetworkConfig, evaluation: &Dataset) -> anyhow::Result<()> {
    let (smallest, crop) = (model.smallest_image(), spec.training.augmentation.crop);
    let needs = format!("the network {} needs at least {smallest} x {smallest}", model.architecture.name());
    if crop.height.min(crop.width) < smallest {
        return Err(Usage(format!("training.augmentation.crop: is {crop}, but {needs}")).into());
    }
    if smallest <= 1 {
        return Ok(());
    }
    let first = evaluation.load(0)?;
    let (height, width) = (first.image.height, first.image.width);
    if height.min(width) < smallest {
        let (split, id) = (evaluation.split(), &first.id);
        return Err(BadData(format!("split {split}, {id}: is {height} x {width}, but {needs}")).into());
    }
    for Views { height, width, .. } in spec.evaluation.views(height, width) {
        if height.min(width) < smallest {
            let key = match spec.evaluation.protocol {
                Protocol::WholeImage => "window",
                _ => "protocol",
            };
            let text = format!("evaluation.{key}: gives the network {height} x {width}, but {needs}");
            return Err(Usage(text).into());
        }
    }
    Ok(())
}

impl Plan {
    /// Opens the data of `spec` and checks that a training can use it.
    pub fn new(spec: Spec) -> anyhow::Result<Self> {
        let data = Data::find(&spec)?;
        let train = data.open(&spec.data.train_split)?;
        let validation = data.open(&spec.data.validation_split)?;
        let evaluation = data.open(spec.evaluation_split())?;
        let steps_per_epoch = spec.training.steps_per_epoch(train.len()).map_err(of_training)?;
        let total_steps = spec.training.total_steps(train.len()).map_err(of_training)?;
        spec.training.require_classes(data.num_classes()).map_err(of_training)?;
        let model = spec.network(data.num_classes());
        model.validate()?;
        require_sizes(&spec, &model, &evaluation)?;
        Ok(Self { spec, model, data, train, validation, evaluation, steps_per_epoch, total_steps })
    }

    /// The splits in use, each once.
    pub fn splits(&self) -> impl Iterator<Item = &Dataset> {
        let mut seen: Vec<&str> = Vec::new();
        [&self.train, &self.validation, &self.evaluation].into_iter().filter(move |dataset| {
            let new = !seen.contains(&dataset.split());
            seen.push(dataset.split());
            new
        })
    }

    /// Refuses to validate or evaluate on training images, whatever their names, unless the
    /// manifest allows these splits to share samples.
    ///
    /// # Errors
    /// [`BadData`] with the images and how to allow it.
    pub fn require_disjoint(&self) -> Result<(), BadData> {
        self.shared_with_training().try_for_each(|(split, shared)| self.require_allowed(split, &shared))
    }

    /// Refuses images of the training split in `split`, unless the manifest allows them.
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
            "data {name}: {what}, so scores would measure memorisation. Use splits without common images; for a \
             test that wants this, write `may_overlap: [{train}]` into the split {split} of the manifest"
        )))
    }

    /// Reasons to distrust the scores of this plan, one sentence each: about the splits, and about
    /// the images they share.
    pub fn warnings(&self) -> Vec<String> {
        self.splits()
            .flat_map(|split| of_split(split.split(), split.warnings()))
            .chain(self.overlaps())
            .collect()
    }

    /// What the manifest allows the splits to share, one sentence each.
    pub(crate) fn overlaps(&self) -> impl Iterator<Item = String> {
        self.shared_with_training().map(|(split, Shared { count, .. })| {
            let of = self.scored(split).len();
            format!("split {split}: its images ({count} of {of}) are trained on, as the manifest allows")
        })
    }

    /// The other splits that share images with the training split, each once, with these images.
    fn shared_with_training(&self) -> impl Iterator<Item = (&str, Shared)> {
        let evaluation = Some(&self.evaluation).filter(|split| split.split() != self.validation.split());
        let others = [Some(&self.validation), evaluation].into_iter().flatten();
        others.filter_map(|other| Some((other.split(), self.train.shared_with(other)?)))
    }

    /// The validation or evaluation split with this name.
    fn scored(&self, split: &str) -> &Dataset {
        if self.validation.split() == split { &self.validation } else { &self.evaluation }
    }

    /// The splits that determine the training, by their role in it.
    pub(crate) fn roles(&self) -> [(&str, &Dataset); 2] {
        [("train", &self.train), ("validation", &self.validation)]
    }

    /// The provenance of the result. The initial weights are those from which the run was `begun`,
    /// if the spec still names them and they are no longer available.
    ///
    /// # Errors
    /// If the initial weights are not available.
    pub(crate) fn provenance(&self, begun: Option<&PretrainedProvenance>) -> anyhow::Result<Provenance> {
        let Spec { model, training, .. } = &self.spec;
        let checkpoint = training.from.as_ref().map(|path| checkpoint_provenance(path, begun));
        let backbone = || model.pretrained.as_ref().map(|source| pretrained_provenance(source, begun));
        let pretrained = checkpoint.or_else(backbone).transpose()?;
        let sha256 = pretrained.as_ref().map(|weights| weights.sha256.as_str());
        let identity = identity::of_training(&self.spec, &self.data, &self.train, &self.validation, sha256);
        let provenance = Provenance::of(identity, &self.spec, &self.data, self.splits());
        Ok(Provenance { pretrained, ..provenance })
    }

    /// What the checkpoints of a training with `identity` record about themselves.
    pub(crate) fn origin(&self, identity: &Identity) -> Origin {
        let training = TrainingOrigin {
            method: self.spec.training.method.name().into(),
            seed: self.spec.seed,
            step: 0,
            spec_sha256: identity::without_seed(identity),
        };
        Origin {
            classes: Some(checkpoint::classes(&self.data.manifest)),
            training: Some(training),
            import: None,
        }
    }

    /// The number of trainable values in the network.
    pub fn parameters(&self) -> anyhow::Result<usize> {
        Ok(self.model.outline()?.parameter_count())
    }

    /// Multiply-adds of the whole training.
    pub fn training_cost(&self) -> anyhow::Result<u64> {
        let training = &self.spec.training;
        let crop = training.augmentation.crop;
        let forward = self.model.outline()?.multiply_adds(crop.height, crop.width);
        Ok((forward as f64 * training.step_cost() * self.total_steps as f64) as u64)
    }

    /// A lower bound on the bytes for a training step.
    pub fn training_memory(&self) -> anyhow::Result<u64> {
        let training = &self.spec.training;
        let crop = training.augmentation.crop;
        let outline = self.spec.precision.outline(&self.model)?;
        let part = training.batch_size / training.accumulate;
        let step = if training.recompute {
            outline.recomputing_memory(part, crop.height, crop.width)
        } else {
            outline.training_memory(part, crop.height, crop.width)
        };
        let copies = training.additional_copies() * size_of::<f32>() * outline.parameter_count();
        Ok(step.saturating_add(copies as u64))
    }

    /// A lower bound on the bytes for the evaluation, on images as large as the split's first.
    pub fn evaluation_memory(&self) -> anyhow::Result<u64> {
        memory::of_evaluation(&self.model, self.spec.precision, &self.spec.evaluation, &self.evaluation)
    }

    /// Requires the memory that the plan needs on the CPU, so that a lack shows now and not after a
    /// week.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::exit::OutOfMemory) with what to lower.
    pub fn require_memory(&self) -> anyhow::Result<()> {
        let lower = |keys: &[(&str, &dyn Display)]| {
            let keys = keys.iter().map(|(key, value)| format!("{key} ({value} now)")).collect::<Vec<_>>();
            format!("raise the limit, or lower {}", keys.join(", "))
        };
        let training = &self.spec.training;
        let part = training.batch_size / training.accumulate;
        let key = if training.accumulate > 1 {
            "training.batch_size over training.accumulate"
        } else {
            "training.batch_size"
        };
        let (scale, value) = self.model.architecture.scale();
        let place = self.model.architecture.spec_key().map_or("model".into(), |key| format!("model.{key}"));
        let scale = format!("{place}.{scale}");
        let crop = &training.augmentation.crop;
        let keys: [(&str, &dyn Display); 3] =
            [(key, &part), ("training.augmentation.crop", crop), (&scale, &value)];
        memory::require(self.training_memory()?, "a training step", &lower(&keys))?;
        memory::require_for_evaluation(
            &self.model,
            self.spec.precision,
            &self.spec.evaluation,
            &self.evaluation,
        )
    }

    /// Multiply-adds for evaluating one image as large as the split's first: a forward pass per
    /// point, and an attack's gradients, at most one per step of each point.
    pub fn evaluation_cost(&self) -> anyhow::Result<u64> {
        let first = self.evaluation.load(0)?;
        let views = self.spec.evaluation.views(first.image.height, first.image.width);
        let outline = self.model.outline()?;
        let of_views = |views: &Views| {
            outline.multiply_adds(views.height, views.width).saturating_mul(views.count as u64)
        };
        let forward = views.iter().map(of_views).fold(0, u64::saturating_add);
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
