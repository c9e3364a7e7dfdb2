//! One adversarial training step.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use robustseg_attacks::Adversarial;
use robustseg_datasets::Batch;
use robustseg_ops::{Gradients, IGNORE_LABEL, clip_gradients, copies};

use crate::draw;
use crate::ranks::sums::Sums;
use crate::samples::{At, Part, Samples};
use crate::staging::{self, Prepared};
use crate::step_record::{Seconds, StepRecord};
use crate::trainer::Trainer;
use crate::{Error, Result};

#[cfg(test)]
mod accumulation;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests;

/// A batch on the device.
pub(crate) struct OnDevice<'a> {
    pub(crate) ids: &'a [String],
    /// (N, 3, H, W), f32.
    images: Tensor,
    /// (N, H, W), u8.
    pub(crate) labels: Tensor,
}

impl OnDevice<'_> {
    /// The shares of the labelled pixels that are in each of `parts` equal parts of the batch.
    fn shares(&self, parts: usize) -> Result<Vec<f64>> {
        if parts == 1 {
            return Ok(vec![1.0]);
        }
        let labelled = self.labels.ne(IGNORE_LABEL)?.to_dtype(DType::F64)?;
        let labelled: Vec<f64> = labelled.reshape((parts, ()))?.sum(1)?.to_vec1()?;
        let all: f64 = labelled.iter().sum();
        let share = |labelled: f64| if all > 0.0 { labelled / all } else { 1.0 / parts as f64 };
        Ok(labelled.into_iter().map(share).collect())
    }

    /// `count` samples from `first` on.
    fn part(&self, first: usize, count: usize) -> Result<OnDevice<'_>> {
        let (images, labels) = (self.images.narrow(0, first, count)?, self.labels.narrow(0, first, count)?);
        Ok(OnDevice { ids: &self.ids[first..first + count], images, labels })
    }
}

/// Running statistics with their values at one time.
type Statistics = Vec<(Var, Tensor)>;

/// Gives each of `statistics` its value again.
fn put(statistics: &Statistics) -> Result<()> {
    statistics.iter().try_for_each(|(statistic, value)| Ok(robustseg_ops::assign(statistic, value)?))
}

/// What a batch, or a part of it, gives an update.
pub(crate) struct Learned {
    /// The loss.
    pub(crate) value: f32,
    pub(crate) penalty: Option<f64>,
    pub(crate) gradients: Gradients,
    /// Their sums over all ranks, on the way.
    pub(crate) sums: Option<Sums>,
    /// Of the adversarial samples, by their examples.
    pub(crate) example_gradient: Option<Tensor>,
}

/// The samples of an update after crafting.
struct Crafted {
    /// The batch's images, clean and adversarial.
    images: Tensor,
    /// The adversarial samples.
    attacked: Option<Part>,
    /// Their epsilons.
    epsilons: Vec<f32>,
}

impl Trainer {
    /// Performs one step on `batch`. The draw of this step decides which samples are attacked.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss, a gradient or an attack's objective is not finite. Nothing
    /// has changed then, except for earlier updates on the same batch.
    pub fn step(&mut self, batch: &Batch) -> Result<StepRecord> {
        self.step_with(batch, &self.draw_attacked(batch.ids.len()))
    }

    /// [`Trainer::step`] on a batch on the way to the device.
    ///
    /// # Errors
    /// The errors of [`Trainer::step`].
    pub fn step_prepared(&mut self, prepared: &Prepared) -> Result<StepRecord> {
        let start = Instant::now();
        let batch = prepared.batch();
        let attacked = self.draw_attacked(batch.ids.len());
        let tensors = self.arrivals.take(prepared)?;
        self.step_on(batch, tensors, &attacked, start)
    }

    /// Performs one step on `batch`. Attacks the samples marked in `attacked`, unless the method
    /// crafts nothing.
    ///
    /// # Errors
    /// The errors of [`Trainer::step`], and [`Error::Mismatch`] if mask or arrays do not fit the
    /// batch.
    pub fn step_with(&mut self, batch: &Batch, attacked: &[bool]) -> Result<StepRecord> {
        self.step_on(batch, None, attacked, Instant::now())
    }

    /// Performs one step, which began at `start`, on `batch`, or on its tensors if they are on the
    /// device already. After an error the running statistics and the method's state are those from
    /// before.
    fn step_on(
        &mut self,
        batch: &Batch,
        tensors: Option<(Tensor, Tensor)>,
        attacked: &[bool],
        start: Instant,
    ) -> Result<StepRecord> {
        let (statistics, state) = (self.running_statistics()?, self.method.state());
        self.network.deal_batches(Some(Arc::clone(&self.ranks)));
        let done = self.all_updates(batch, tensors, attacked, start);
        self.network.deal_batches(None);
        self.network.set_recompute(false);
        if done.is_err() {
            put(&statistics)?;
            self.method.restore(state)?;
        }
        done
    }

    /// Batch norm's running statistics, which a forward pass changes, with their present values.
    fn running_statistics(&self) -> Result<Statistics> {
        let parameters = self.network.parameters().values();
        let statistics = parameters.filter(|parameter| !parameter.is_trainable());
        let statistics: Vec<Var> = statistics.map(|statistic| statistic.var.clone()).collect();
        let values = copies(&statistics.iter().map(Var::as_tensor).collect::<Vec<_>>())?;
        Ok(statistics.into_iter().zip(values).collect())
    }

    fn all_updates(
        &mut self,
        batch: &Batch,
        tensors: Option<(Tensor, Tensor)>,
        attacked: &[bool],
        start: Instant,
    ) -> Result<StepRecord> {
        if attacked.len() != batch.ids.len() {
            return Err(Error::Mismatch {
                what: "mask of attacked samples".into(),
                expected: format!("{} entries, one for each sample", batch.ids.len()),
                actual: attacked.len().to_string(),
            });
        }
        let (images, labels) = match tensors {
            Some(tensors) => tensors,
            None => upload(batch, self.network.device())?,
        };
        let batch = OnDevice { ids: &batch.ids, images, labels };
        let mut record = StepRecord {
            step: self.steps_done(),
            loss: 0.0,
            penalty: None,
            learning_rate: self.learning_rate(),
            images: batch.ids.len(),
            attacked: 0,
            epsilon_mean: None,
            epsilons: Vec::new(),
            seconds: Seconds { data: start.elapsed().as_secs_f64(), ..Seconds::default() },
        };
        let updates = self.method.updates();
        for update in 0..updates {
            record.loss += self.learn(&batch, attacked, update as u64, &mut record)? / updates as f32;
        }
        self.count(&record);
        Ok(record)
    }

    /// Performs update number `update` of this step on `batch`. Returns the loss before the update,
    /// and writes everything else to `record`.
    fn learn(
        &mut self,
        batch: &OnDevice<'_>,
        attacked: &[bool],
        update: u64,
        record: &mut StepRecord,
    ) -> Result<f32> {
        let (seed, step, learning_rate) = (self.seed, self.steps_done(), self.learning_rate());
        let mut at = At { seed, step, update, part: 0, learning_rate };
        (record.penalty, record.epsilons) = (None, Vec::new());
        let (mut value, mut sum, mut examples, mut sums) = (0.0, None, None, None);
        let shares = batch.shares(self.config.accumulate)?;
        // Every part is crafted on the statistics from before the update, as a whole batch is.
        let before = if shares.len() > 1 { Some(self.running_statistics()?) } else { None };
        let size = attacked.len() / shares.len();
        for (index, share) in shares.into_iter().enumerate() {
            at.part = index as u64;
            if index > 0 {
                // The method is done with a part before it sees the next.
                self.method.after_update(Option::take(&mut examples).as_ref())?;
            }
            let attacked = &attacked[index * size..][..size];
            let found =
                self.gradients(&batch.part(index * size, size)?, attacked, before.as_ref(), at, record)?;
            value += share as f32 * found.value;
            record.penalty = match found.penalty {
                Some(penalty) => Some(record.penalty.unwrap_or(0.0) + share * penalty),
                None => record.penalty,
            };
            examples = found.example_gradient;
            sums = found.sums;
            sum = Some(if size == batch.ids.len() {
                found.gradients
            } else {
                self.added(sum.as_ref(), found.gradients, share)?
            });
        }
        let Some(mut gradients) = sum else { return Ok(value) };

        let start = Instant::now();
        // The gradients of several parts are added up at the end.
        if let Some(sums) = sums.or_else(|| self.sums()) {
            sums.finish(&mut gradients)?;
        }
        if let Some(limit) = self.config.clip_gradient {
            let parameters = self.network.parameters().values();
            let parameters: Vec<_> = parameters.map(|parameter| parameter.var.as_tensor()).collect();
            clip_gradients(&parameters, &mut gradients, limit)?;
        }
        let number = self.state.updates + 1;
        if let Some((name, value)) = self.optimiser.step(&self.network, &gradients, learning_rate, number)? {
            return Err(at.not_finite(format!("the gradient of {name}"), value, batch.ids.to_vec()));
        }
        self.state.updates = number;
        if let Some(average) = &self.average {
            average.take_in(&self.network, number)?;
        }
        self.method.after_update(examples.as_ref())?;
        self.network.device().synchronize()?;
        record.seconds.optimiser += start.elapsed().as_secs_f64();
        record.attacked = record.epsilons.len();
        record.epsilon_mean = mean(&record.epsilons);
        Ok(value)
    }

    /// Crafts the examples of `batch` at the marked positions, on the running statistics `before` if
    /// they are given, and computes the gradients of the loss.
    fn gradients(
        &mut self,
        batch: &OnDevice<'_>,
        attacked: &[bool],
        before: Option<&Statistics>,
        at: At,
        record: &mut StepRecord,
    ) -> Result<Learned> {
        let device = self.network.device().clone();
        let start = Instant::now();
        // With fewer samples than that, an attack takes no more memory than the step.
        let most = 2 * attacked.iter().filter(|attacked| **attacked).count() > attacked.len();
        self.network.set_recompute(self.config.recompute && most);
        let Crafted { images, attacked, epsilons } = self.craft_on(batch, attacked, before, at)?;
        device.synchronize()?;
        record.seconds.attack += start.elapsed().as_secs_f64();
        self.network.set_recompute(self.config.recompute);

        let images = if self.method.wants_example_gradient() {
            Var::from_tensor(&images)?.into_inner()
        } else {
            images
        };
        let Learned { value, mut penalty, mut gradients, sums, .. } =
            self.pass(batch, &images, at, &mut record.seconds)?;

        let start = Instant::now();
        if let Some(added) = self.method.after_backward(&mut gradients)? {
            penalty = Some(added + penalty.unwrap_or(0.0));
        }
        let example_gradient = match (&attacked, gradients.get(&images)) {
            (Some(attacked), Some(gradient)) => Some(attacked.take_from(gradient)?),
            _ => None,
        };
        record.epsilons.extend(epsilons);
        record.seconds.optimiser += start.elapsed().as_secs_f64();
        Ok(Learned { value, penalty, gradients, sums, example_gradient })
    }

    /// `part` times `share`, added to `sum`, for all parameters.
    fn added(&self, sum: Option<&Gradients>, mut part: Gradients, share: f64) -> Result<Gradients> {
        for parameter in self.network.parameters().values() {
            let parameter = parameter.var.as_tensor();
            let Some(gradient) = part.remove(parameter) else { continue };
            let scaled = (gradient * share)?;
            let before = sum.and_then(|sum| sum.get(parameter));
            part.insert(parameter, before.map_or_else(|| Ok(scaled.clone()), |before| before + &scaled)?);
        }
        Ok(part)
    }

    /// The samples of `batch` that this step attacks.
    fn draw_attacked(&self, count: usize) -> Vec<bool> {
        if !self.config.method.crafts() {
            return vec![false; count];
        }
        draw::attacked(self.config.practice(), count, self.seed, self.steps_done())
    }

    /// [`Trainer::craft`] on the running statistics `before`, if they are given.
    fn craft_on(
        &mut self,
        batch: &OnDevice<'_>,
        attacked: &[bool],
        before: Option<&Statistics>,
        at: At,
    ) -> Result<Crafted> {
        let Some(before) = before else { return self.craft(batch, attacked, at) };
        let present = self.running_statistics()?;
        put(before)?;
        let crafted = self.craft(batch, attacked, at)?;
        put(&present)?;
        Ok(crafted)
    }

    /// The images of `batch` with adversarial examples in the marked positions. Only marked samples
    /// are crafted.
    fn craft(&mut self, batch: &OnDevice<'_>, attacked: &[bool], at: At) -> Result<Crafted> {
        let OnDevice { ids, images, labels } = batch;
        let places =
            |of: bool| -> Vec<usize> { (0..attacked.len()).filter(|&place| attacked[place] == of).collect() };
        let drawn = Part::of(images, labels, ids, places(true), at)?;
        let statistics = self.config.practice().statistics;
        let samples = Samples {
            network: &self.network,
            statistics,
            images,
            labels,
            ids,
            drawn,
            clean: places(false),
            at,
        };
        self.method.prepare(&samples)?;
        let untouched = Crafted { images: images.clone(), attacked: None, epsilons: Vec::new() };
        let target = samples.target();
        let Some(drawn) = samples.drawn else { return Ok(untouched) };
        let crafted = self.method.craft(&drawn.case(&target)?, &mut at.random("step_size"));
        let Some(Adversarial { image, epsilon }) = crafted.map_err(|error| drawn.named(error))? else {
            return Ok(untouched);
        };
        let images = drawn.put_into(images, &image)?;
        Ok(Crafted { images, attacked: Some(drawn), epsilons: epsilon.to_vec1()? })
    }
}

/// Uploads the batch to `device`: images (N, 3, H, W) f32, labels (N, H, W) u8.
fn upload(batch: &Batch, device: &Device) -> Result<(Tensor, Tensor)> {
    let shape = staging::images_shape(batch)?;
    let images = Tensor::from_slice(&batch.images, shape, device)?;
    let labels = Tensor::from_slice(&batch.labels, (shape.0, shape.2, shape.3), device)?;
    Ok((images, labels))
}

fn mean(values: &[f32]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64)
}
