//! Scores of a model on clean and attacked images of a dataset.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use robustseg_attacks::{CurveConfig, IGNORE_LABEL, Model};
use robustseg_datasets::{Dataset, Sample};
use robustseg_models::{Network, NormStatistics};
use robustseg_ranks::{Communicator, Solo};

use crate::advance::{Advance, OnProgress};
use crate::batch::EvaluationBatch;
use crate::batches::Batches;
use crate::config::{EvaluationConfig, evenly_spaced};
use crate::journal::Journal;
use crate::presented::Presented;
use crate::protocol::Protocol;
use crate::record::Scores;
use crate::results::Evaluated;
use crate::seen::Seen;
use crate::source::Subject;
use crate::tally::{Models, Tally};
use crate::target::Target;
use crate::{Error, Result};

/// Evaluates a network, the `subject`, in evaluation mode on `dataset`. The caller loads the `split`,
/// `weights` and `sources` of `config`, and adds classes, weights and checkpoints to the result.
///
/// # Errors
/// [`Error::Interrupted`] before the next backward pass after `stop` was set, and a source with another
/// number of classes.
pub fn evaluate<'a>(
    subject: impl Into<Subject<'a>>,
    dataset: &Dataset,
    config: &EvaluationConfig,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Evaluated> {
    evaluate_among(&Solo, None, subject, dataset, config, stop, progress)
}

/// Like [`evaluate`], but records observations in `journal` and resumes after those it already
/// holds. The result is the same, bit for bit.
///
/// # Errors
/// The errors of [`evaluate`], an unwritable journal and a damaged example in it.
pub fn evaluate_with<'a>(
    journal: &mut Journal,
    subject: impl Into<Subject<'a>>,
    dataset: &Dataset,
    config: &EvaluationConfig,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Evaluated> {
    evaluate_among(&Solo, Some(journal), subject, dataset, config, stop, progress)
}

/// Like [`evaluate`] or [`evaluate_with`], by several processes with the same subject, data and
/// settings. The batches are dealt out to `ranks` in turn, and every rank gets the whole result, which
/// is that of one process, bit for bit. Rank 0 alone has a `journal`.
///
/// # Errors
/// The errors of [`evaluate_with`], [`Error::Interrupted`] on all ranks between two batches if `stop` was
/// set on one, and [`Error::Ranks`] if one has ended.
pub fn evaluate_among<'a>(
    ranks: &dyn Communicator,
    journal: Option<&mut Journal>,
    subject: impl Into<Subject<'a>>,
    dataset: &Dataset,
    config: &EvaluationConfig,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Evaluated> {
    let tally = measure(ranks, subject.into(), dataset, config, journal, stop, progress)?;
    Ok(on(dataset, config, tally.evaluated()?))
}

/// Adds the scope of `dataset` and `config` to `evaluated`.
fn on(dataset: &Dataset, config: &EvaluationConfig, mut evaluated: Evaluated) -> Evaluated {
    let scope = &mut evaluated.evaluation.scope;
    scope.protocol = Some(config.protocol.clone());
    scope.window = config.window.of_part();
    (scope.split, scope.split_images) = (Some(dataset.split().into()), Some(dataset.len()));
    evaluated
}

/// Evaluates any `model` of `num_classes` classes on `batches`, clean and along `curves`. It works
/// like [`evaluate`], keeps `examples` images as examples, and draws the attacks' random starts from
/// `seed`. To evaluate in windows or under a protocol, take [`evaluate_presented`].
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
    seed: u64,
) -> Result<Evaluated> {
    let presented = Presented::new(model, &Protocol::WholeImage);
    evaluate_presented(&presented, num_classes, batches, curves, examples, seed)
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
    seed: u64,
) -> Result<Evaluated> {
    let (protocol, window) = (presented.protocol().clone(), presented.window());
    let config =
        EvaluationConfig { curves: curves.to_vec(), protocol, window, ..EvaluationConfig::default() };
    config.validate()?;
    config.protocol.check_classes(num_classes)?;
    let mut tally = Tally::new(num_classes, curves, examples).with_seed(seed);
    let models = Models { target: *presented, sources: Vec::new() };
    for batch in batches {
        let batch = batch.prepared(presented)?;
        if tally.wants_gradient_check() {
            tally.check_gradient(presented, &batch)?;
        }
        tally.add(&models, &batch, &mut |_| ControlFlow::Continue(()))?;
    }
    let mut evaluated = tally.evaluated()?;
    evaluated.evaluation.scope.protocol = Some(config.protocol);
    evaluated.evaluation.scope.window = config.window.of_part();
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
    clean_scores_among(&Solo, network, dataset, limit, stop, progress)
}

/// [`clean_scores`] by several processes, as [`evaluate_among`].
///
/// # Errors
/// The errors of [`evaluate_among`].
pub fn clean_scores_among(
    ranks: &dyn Communicator,
    network: &Network,
    dataset: &Dataset,
    limit: Option<usize>,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Scores> {
    let config = EvaluationConfig { limit, curves: Vec::new(), examples: 0, ..EvaluationConfig::default() };
    measure(ranks, network.into(), dataset, &config, None, stop, progress)?.clean()
}

/// The observations of [`evaluate`].
fn measure<'a>(
    ranks: &dyn Communicator,
    Subject { network, sources }: Subject<'_>,
    dataset: &Dataset,
    config: &'a EvaluationConfig,
    mut journal: Option<&mut Journal>,
    stop: &AtomicBool,
    progress: OnProgress<'_>,
) -> Result<Tally<'a>> {
    config.validate()?;
    let classes = network.config().num_classes;
    config.protocol.check_classes(classes)?;
    sources.iter().try_for_each(|source| source.require_classes(classes))?;
    let networks = || std::iter::once(network).chain(sources.iter().map(|source| &source.network));
    let targets: Vec<Target<'_>> =
        networks().map(|network| Target::new(network, NormStatistics::Running)).collect();
    let mut all = targets.iter().zip(networks()).map(|(target, network)| presented(target, network, config));
    let target = all.next().expect("the network comes first");
    let models = Models { target, sources: all.collect() };
    let indices = evenly_spaced(dataset.len(), config.limit);
    let tally = Tally::new(classes, &config.curves, config.examples).with_seed(config.seed);
    let mut tally = tally.with_sources(sources.iter().map(|source| source.name.as_str()));
    // Always on the first sample with a label, wherever the evaluation resumes.
    for &index in &indices {
        if !tally.wants_gradient_check() || stop.load(Ordering::Relaxed) {
            break;
        }
        let batch = EvaluationBatch::of(&[dataset.load(index)?], network.device())?;
        tally.check_gradient(&models.target, &batch.prepared(&models.target)?)?;
    }
    if tally.wants_class_pixels() {
        let samples = dataset.samples(indices.iter().copied());
        tally.set_class_pixels(class_pixels(samples, network, &models.target, stop)?);
    }
    let (total, per_image) = (indices.len() as u64, config.passes(sources.len()));
    restore(ranks, &mut tally, journal.as_deref_mut())?;
    // Batches have the same boundaries as in an undisturbed evaluation.
    let mut done = tally.len();
    let samples = dataset.samples(indices.into_iter().skip(done));
    let mut batches = Batches::new(samples, config.batch_size);
    // Several ranks end together, between two batches.
    let stopped_alone = || ranks.size() == 1 && stop.load(Ordering::Relaxed);
    loop {
        if ranks.any(stop.load(Ordering::Relaxed))? {
            return Err(Error::Interrupted);
        }
        let round = batches.by_ref().take(ranks.size()).collect::<Result<Vec<_>, _>>()?;
        let (images, start) = (round.iter().map(Vec::len).sum::<usize>(), Instant::now());
        if images == 0 {
            return Ok(tally);
        }
        let mut seen = None;
        if let Some(own) = round.get(ranks.rank()) {
            let batch = EvaluationBatch::of(own, network.device())?.prepared(&models.target)?;
            let mut passes = 0;
            let mut passed = |count| {
                passes += count;
                // The other ranks are about as far.
                let of_all = passes * images as u64 / own.len() as u64;
                progress(Advance::new(done as u64, total, per_image, of_all, images as u64));
                if stopped_alone() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let before: usize = round[..ranks.rank()].iter().map(Vec::len).sum();
            let own = tally.see(&models, &batch, done + before, &mut passed);
            if own.is_err() && stopped_alone() {
                return Err(Error::Interrupted);
            }
            seen = Some(own?);
        }
        let seen = exchanged(ranks, seen)?;
        let seconds = start.elapsed().as_secs_f64() / seen.len() as f64;
        for seen in seen {
            match journal.as_deref_mut() {
                Some(journal) => tally.take_into(journal, seen, seconds)?,
                None => tally.take_in(seen)?,
            }
        }
        done += images;
        progress(Advance::new(done as u64, total, per_image, 0, 0));
    }
}

/// The observations that all ranks have made, in their order.
fn exchanged(ranks: &dyn Communicator, own: Option<Seen>) -> Result<Vec<Seen>> {
    if ranks.size() == 1 {
        return Ok(own.into_iter().collect());
    }
    let own = own.map_or_else(|| Ok(Vec::new()), Seen::into_bytes)?;
    let all = ranks.gather(&own)?;
    all.iter().filter(|bytes| !bytes.is_empty()).map(|bytes| Seen::from_bytes(bytes)).collect()
}

/// Restores the observations that earlier processes left in the `journal` of rank 0.
fn restore(ranks: &dyn Communicator, tally: &mut Tally<'_>, journal: Option<&mut Journal>) -> Result<()> {
    let seen = journal.map_or_else(|| Ok(Seen::default()), |journal| tally.recorded(journal))?;
    if ranks.size() == 1 {
        return tally.take_in(seen);
    }
    let bytes = ranks.broadcast(&seen.into_bytes()?)?;
    tally.take_in(Seen::from_bytes(&bytes)?)
}

/// The number of labelled pixels of each class of `network` in `samples` as `target` sees them.
fn class_pixels(
    samples: impl Iterator<Item = robustseg_datasets::Result<Sample>>,
    network: &Network,
    target: &Presented<'_>,
    stop: &AtomicBool,
) -> Result<Vec<u64>> {
    let mut counts = vec![0; network.config().num_classes];
    for sample in samples {
        // The ranks agree later to end.
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let EvaluationBatch { label, .. } =
            EvaluationBatch::of(&[sample?], network.device())?.prepared(target)?;
        for label in label.flatten_all()?.to_vec1::<u8>()? {
            if let Some(count) = counts.get_mut(usize::from(label)).filter(|_| label != IGNORE_LABEL) {
                *count += 1;
            }
        }
    }
    Ok(counts)
}

/// A `target` made of `network`, as `config` presents images to it.
fn presented<'a>(target: &'a Target<'a>, network: &Network, config: &'a EvaluationConfig) -> Presented<'a> {
    Presented::new(target, &config.protocol).with_window(config.window).padded_with(network.config().mean)
}

#[cfg(test)]
mod tests;
