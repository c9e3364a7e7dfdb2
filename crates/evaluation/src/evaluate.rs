//! Scores of a model on clean and attacked images of a dataset.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Tensor};
use robustseg_attacks::{CurveConfig, IGNORE_LABEL, Model};
use robustseg_datasets::{Dataset, Sample};
use robustseg_models::{Network, NormStatistics};

use crate::advance::{Advance, OnProgress};
use crate::config::{EvaluationConfig, evenly_spaced};
use crate::journal::Journal;
use crate::presented::Presented;
use crate::protocol::Protocol;
use crate::record::Scores;
use crate::results::Evaluated;
use crate::tally::Tally;
use crate::target::Target;
use crate::{Error, Result};

/// Evaluates `network` in evaluation mode on `dataset`. The caller chooses the `split` and
/// `weights` of `config`, and adds classes, weights and checkpoint to the [`Scope`](crate::Scope)
/// of the result.
///
/// # Errors
/// [`Error::Interrupted`] between two batches after `stop` was set.
pub fn evaluate(
    network: &Network,
    dataset: &Dataset,
    config: &EvaluationConfig,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Evaluated> {
    let tally = measure(network, dataset, config, None, stop, progress)?;
    Ok(on(dataset, config, tally.evaluated()?))
}

/// Like [`evaluate`], but records observations in `journal` and resumes after those it already
/// holds. The result is the same, bit for bit.
///
/// # Errors
/// The errors of [`evaluate`], an unwritable journal and a damaged example in it.
pub fn evaluate_with(
    journal: &mut Journal,
    network: &Network,
    dataset: &Dataset,
    config: &EvaluationConfig,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Evaluated> {
    let tally = measure(network, dataset, config, Some(journal), stop, progress)?;
    Ok(on(dataset, config, tally.evaluated()?))
}

/// Adds the scope of `dataset` and `config` to `evaluated`.
fn on(dataset: &Dataset, config: &EvaluationConfig, mut evaluated: Evaluated) -> Evaluated {
    let scope = &mut evaluated.evaluation.scope;
    scope.protocol = Some(config.protocol.clone());
    (scope.split, scope.split_images) = (Some(dataset.split().into()), Some(dataset.len()));
    evaluated
}

/// A batch to evaluate a model on.
#[derive(Clone, Debug)]
pub struct EvaluationBatch {
    /// The samples' ids.
    pub ids: Vec<String>,
    /// The images (N, 3, H, W), f32 in `[0, 1]`. The size may differ between batches.
    pub image: Tensor,
    /// The labels (N, H, W), u8, where 255 means not labelled.
    pub label: Tensor,
}

/// Evaluates any `model` of `num_classes` classes on `batches`, clean and along `curves`. It works
/// like [`evaluate`] with seed 0 and keeps `examples` images as examples. To evaluate in windows or
/// under a protocol, take [`evaluate_presented`].
///
/// # Errors
/// A batch that does not fit the attacks, no labelled pixel at all, or a gradient that differs
/// grossly from the slope of the loss on the first image with a label
/// ([`check_gradient`](robustseg_attacks::check_gradient)).
pub fn evaluate_model(
    model: &dyn Model,
    num_classes: usize,
    batches: impl IntoIterator<Item = EvaluationBatch>,
    curves: &[CurveConfig],
    examples: usize,
) -> Result<Evaluated> {
    evaluate_presented(&Presented::new(model, &Protocol::WholeImage), num_classes, batches, curves, examples)
}

/// Like [`evaluate_model`], with the images presented to the model as `presented` says.
///
/// # Errors
/// The errors of [`evaluate_model`], and settings of the protocol out of range.
pub fn evaluate_presented(
    presented: &Presented<'_>,
    num_classes: usize,
    batches: impl IntoIterator<Item = EvaluationBatch>,
    curves: &[CurveConfig],
    examples: usize,
) -> Result<Evaluated> {
    let (protocol, window) = (presented.protocol().clone(), presented.window());
    let config =
        EvaluationConfig { curves: curves.to_vec(), protocol, window, ..EvaluationConfig::default() };
    config.validate()?;
    config.protocol.check_classes(num_classes)?;
    let mut tally = Tally::new(num_classes, curves, examples);
    for EvaluationBatch { ids, image, label } in batches {
        if ids.len() != image.dims().first().copied().unwrap_or(0) {
            return Err(Error::Mismatch {
                what: "ids of a batch".into(),
                expected: format!("one for each image of {:?}", image.dims()),
                actual: ids.len().to_string(),
            });
        }
        let (image, label) = presented.prepare(&image, &label)?;
        if tally.wants_gradient_check() {
            tally.check_gradient(presented, &image, &label)?;
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        tally.add(presented, &image, &label, &ids, &mut |_| {})?;
    }
    let mut evaluated = tally.evaluated()?;
    evaluated.evaluation.scope.protocol = Some(config.protocol);
    Ok(evaluated)
}

/// The clean scores of `network` on `limit` evenly spaced samples of `dataset`, or on all of them.
///
/// # Errors
/// The errors of [`evaluate`].
pub fn clean_scores(
    network: &Network,
    dataset: &Dataset,
    limit: Option<usize>,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Scores> {
    let config = EvaluationConfig { limit, curves: Vec::new(), examples: 0, ..EvaluationConfig::default() };
    measure(network, dataset, &config, None, stop, progress)?.clean()
}

/// The observations of [`evaluate`].
fn measure<'a>(
    network: &Network,
    dataset: &Dataset,
    config: &'a EvaluationConfig,
    mut journal: Option<&mut Journal>,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Tally<'a>> {
    config.validate()?;
    let classes = network.config().num_classes;
    config.protocol.check_classes(classes)?;
    let target = Target::new(network, NormStatistics::Running);
    let presented = Presented::new(&target, &config.protocol);
    let presented = presented.with_window(config.window).padded_with(network.config().mean);
    let indices = evenly_spaced(dataset.len(), config.limit);
    let tally = Tally::new(classes, &config.curves, config.examples);
    let mut tally = tally.with_seed(config.seed);
    // Always on the first sample with a label, wherever the evaluation resumes.
    for &index in &indices {
        if !tally.wants_gradient_check() || stop.load(Ordering::Relaxed) {
            break;
        }
        let (image, label) = stack(&[dataset.load(index)?], network)?;
        let (image, label) = presented.prepare(&image, &label)?;
        tally.check_gradient(&presented, &image, &label)?;
    }
    if tally.wants_class_pixels() {
        let samples = dataset.samples(indices.iter().copied());
        tally.set_class_pixels(class_pixels(samples, network, &presented, stop)?);
    }
    let mut pending: Vec<Sample> = Vec::new();
    let (total, per_image) = (indices.len() as u64, config.passes_per_image());
    if let Some(journal) = journal.as_deref_mut() {
        tally.restore(journal)?;
    }
    // Batches have the same boundaries as in an undisturbed evaluation.
    let mut done = tally.len() as u64;
    let mut samples = dataset.samples(indices.into_iter().skip(tally.len()));
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let sample = samples.next().transpose()?;
        let fits = |sample: &Sample| pending.len() < config.batch_size && same_size(&pending, sample);
        if !sample.as_ref().is_some_and(fits) && !pending.is_empty() {
            let (image, label) = stack(&pending, network)?;
            let (image, label) = presented.prepare(&image, &label)?;
            let ids: Vec<&str> = pending.iter().map(|sample| sample.id.as_str()).collect();
            let (batch, mut passes) = (pending.len() as u64, 0);
            let mut passed = |count| {
                passes += count;
                progress(Advance::new(done, total, per_image, passes, batch));
            };
            match journal.as_deref_mut() {
                Some(journal) => tally.add_to(journal, &presented, &image, &label, &ids, &mut passed)?,
                None => tally.add(&presented, &image, &label, &ids, &mut passed)?,
            }
            done += batch;
            progress(Advance::new(done, total, per_image, 0, 0));
            pending.clear();
        }
        match sample {
            Some(sample) => pending.push(sample),
            None => break,
        }
    }
    Ok(tally)
}

/// The number of labelled pixels of each class of `network` in `samples` as `presented` prepares
/// them.
fn class_pixels(
    samples: impl Iterator<Item = robustseg_datasets::Result<Sample>>,
    network: &Network,
    presented: &Presented<'_>,
    stop: &AtomicBool,
) -> Result<Vec<u64>> {
    let mut counts = vec![0; network.config().num_classes];
    for sample in samples {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let (image, label) = stack(&[sample?], network)?;
        let (_, label) = presented.prepare(&image, &label)?;
        for label in label.flatten_all()?.to_vec1::<u8>()? {
            if let Some(count) = counts.get_mut(usize::from(label)).filter(|_| label != IGNORE_LABEL) {
                *count += 1;
            }
        }
    }
    Ok(counts)
}

fn same_size(pending: &[Sample], sample: &Sample) -> bool {
    let size = |sample: &Sample| (sample.image.width, sample.image.height);
    pending.first().is_none_or(|first| size(first) == size(sample))
}

/// Stacks samples of one size into images (N, 3, H, W) in `[0, 1]` and labels (N, H, W).
fn stack(samples: &[Sample], network: &Network) -> Result<(Tensor, Tensor)> {
    let device = network.device();
    let mut images = Vec::with_capacity(samples.len());
    let mut labels = Vec::with_capacity(samples.len());
    for Sample { image, label, .. } in samples {
        let (height, width) = (image.height, image.width);
        let pixels = Tensor::from_slice(&image.data, (height, width, 3), device)?.permute((2, 0, 1))?;
        images.push((pixels.to_dtype(DType::F32)? / 255.0)?.contiguous()?);
        labels.push(Tensor::from_slice(&label.data, (height, width), device)?);
    }
    Ok((Tensor::stack(&images, 0)?, Tensor::stack(&labels, 0)?))
}

#[cfg(test)]
mod tests;
