//! One adversarial training step.

use std::ops::AddAssign;
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use rand::RngExt;
use robustseg_datasets::Batch;
use robustseg_models::Pass;
use robustseg_ops::{PixelObjective, pixel_objective_mean};
use robustseg_random::{ChaCha8Rng, stream};
use serde::{Deserialize, Serialize};

use crate::methods::{BranchLogits, DividedLoss};
use crate::{AdversarialDraw, Error, MethodConfig, Penalty, Practice, Replay, Result, Target, Trainer};

/// What one step did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// The step, from 0.
    pub step: u64,
    /// Mean cross-entropy over the labelled pixels of the batch, before the update; the mean over its replays, if the method
    /// has any.
    pub loss: f32,
    /// What the method minimised beside it, if anything, weighted as it was added; the mask branch's cross-entropy is such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// The backbone's learning rate.
    pub learning_rate: f64,
    /// Samples in the batch.
    pub images: usize,
    /// Samples that were replaced by adversarial examples.
    pub attacked: usize,
    /// Mean epsilon of those, if there are any.
    pub epsilon_mean: Option<f64>,
    /// The epsilon of each of those, in the batch's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub epsilons: Vec<f32>,
    /// Where the time went.
    pub seconds: Seconds,
}

/// Seconds, by the part of a step that they were spent in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Waiting for the batch, and for its way to the device.
    pub data: f64,
    /// Crafting adversarial examples, and the method's penalty if it has one.
    pub attack: f64,
    /// From images to loss.
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

impl Trainer {
    /// One step on `batch`, of which the configured share is attacked, as drawn for this step.
    ///
    /// # Errors
    /// [`Error::NotFinite`], and nothing has changed (but the weights, by earlier replays of the batch), if the loss, a
    /// gradient or an attack's objective is not finite.
    pub fn step(&mut self, batch: &Batch) -> Result<StepRecord> {
        let attacked = self.draw_attacked(batch.ids.len());
        self.step_with(batch, &attacked)
    }

    /// One step on `batch`, of which the samples marked in `attacked` are attacked, unless the method is `basic`.
    ///
    /// # Errors
    /// As [`Trainer::step`], and [`Error::Mismatch`] if the mask or the arrays do not fit the batch.
    pub fn step_with(&mut self, batch: &Batch, attacked: &[bool]) -> Result<StepRecord> {
        let before = self.running_statistics()?;
        let done = self.all_replays(batch, attacked);
        if let Err(Error::NotFinite { .. }) = done {
            for (statistic, value) in before {
                statistic.set(&value)?;
            }
        }
        done
    }

    /// Batch norm's running statistics, which a forward pass changes, and what they are now.
    fn running_statistics(&self) -> Result<Vec<(Var, Tensor)>> {
        let parameters = self.network().parameters().values();
        let statistics = parameters.filter(|parameter| !parameter.is_trainable());
        statistics.map(|statistic| Ok((statistic.var.clone(), statistic.var.copy()?))).collect()
    }

    /// [`Trainer::step_with`], leaving the running statistics as they are when it fails.
    fn all_replays(&mut self, batch: &Batch, attacked: &[bool]) -> Result<StepRecord> {
        let start = Instant::now();
        let (images, labels) = match self.arrived(batch)? {
            Some(tensors) => tensors,
            None => upload(batch, self.network().device())?,
        };
        let data = start.elapsed().as_secs_f64();
        let mut record = StepRecord {
            step: self.steps_done(),
            loss: 0.0,
            penalty: None,
            learning_rate: self.learning_rate(),
            images: batch.ids.len(),
            attacked: 0,
            epsilon_mean: None,
            epsilons: Vec::new(),
            seconds: Seconds { data, ..Seconds::default() },
        };
        let replays = self.method().replay().map_or(1, Replay::times);
        for replay in 0..replays {
            record.loss +=
                self.learn(batch, &images, &labels, attacked, replay as u64, &mut record)? / replays as f32;
        }
        self.count(&record);
        Ok(record)
    }

    /// One update on `batch`, its `replay`th at this step; gives the loss before it, and puts all else into `record`.
    fn learn(
        &mut self,
        batch: &Batch,
        images: &Tensor,
        labels: &Tensor,
        attacked: &[bool],
        replay: u64,
        record: &mut StepRecord,
    ) -> Result<f32> {
        let device = self.network().device().clone();
        let step = record.step;

        let start = Instant::now();
        let Examples { images, selected, epsilons, penalty, division } =
            self.examples(batch, images, labels, attacked, replay)?;
        device.synchronize()?;
        record.seconds.attack += start.elapsed().as_secs_f64();

        let start = Instant::now();
        // Tracked only where the method learns from the images' gradient.
        let images = match self.method().replay() {
            Some(_) => Var::from_tensor(&images)?.into_inner(),
            None => images,
        };
        let mut random = stream(self.seed(), "dropout", [step, replay, 0]);
        let mut pass = Pass::Training { dropout: self.config().dropout, random: &mut random };
        let (network, alignment) = (self.network(), self.network().alignment());
        let (loss, mask) = match &division {
            None => {
                let logits = network.forward(&images, &mut pass)?;
                (pixel_objective_mean(&logits, labels, PixelObjective::CrossEntropy, alignment)?, None)
            }
            Some(division) => {
                let logits = BranchLogits::of(network, &images, &mut pass)?;
                let DividedLoss { pixels, mask } = DividedLoss::of(&logits, labels, division, alignment)?;
                (pixels, Some(mask))
            }
        };
        let value = loss.to_scalar::<f32>()?;
        if !value.is_finite() {
            return Err(self.not_finite("the loss".into(), value, batch.ids.clone()));
        }
        record.seconds.forward += start.elapsed().as_secs_f64();

        let start = Instant::now();
        let mut gradients = match &mask {
            None => loss.backward()?,
            Some(mask) => {
                record.penalty = Some(f64::from(mask.to_scalar::<f32>()?));
                (loss + mask)?.backward()?
            }
        };
        device.synchronize()?;
        record.seconds.backward += start.elapsed().as_secs_f64();

        let start = Instant::now();
        if let Some(Penalty { value, gradients: more }) = penalty {
            record.penalty = Some(value);
            gradients.extend(more)?;
        }
        if let Some((name, value)) = self.update(&gradients, record.learning_rate)? {
            return Err(self.not_finite(format!("the gradient of {name}"), value, batch.ids.clone()));
        }
        if let (Some(replay), Some(gradient)) = (self.method_mut().replay_mut(), gradients.get(&images))
            && !selected.is_empty()
        {
            replay.learn(&rows(gradient, &selected)?)?;
        }
        device.synchronize()?;
        record.seconds.optimiser += start.elapsed().as_secs_f64();
        record.attacked = epsilons.len();
        record.epsilon_mean = mean(&epsilons);
        record.epsilons = epsilons;
        Ok(value)
    }

    fn not_finite(&self, quantity: String, value: f32, samples: Vec<String>) -> Error {
        let (step, learning_rate) = (self.steps_done(), self.learning_rate());
        Error::NotFinite { quantity, value, step, learning_rate, samples }
    }

    /// Which samples of a batch of `count` are attacked at this step.
    fn draw_attacked(&self, count: usize) -> Vec<bool> {
        let config = self.config();
        if config.method == MethodConfig::Basic {
            return vec![false; count];
        }
        let Practice { probability, draw: how, .. } = config.practice();
        let mut random = stream(self.seed(), "attacked", [self.steps_done(), 0, 0]);
        let draw = |random: &mut ChaCha8Rng| random.random::<f64>() < probability;
        match how {
            AdversarialDraw::Sample => (0..count).map(|_| draw(&mut random)).collect(),
            AdversarialDraw::Batch => vec![draw(&mut random); count],
            AdversarialDraw::Exact => {
                let mut attacked = vec![false; count];
                let share = (probability * count as f64).round() as usize;
                // The first places of a shuffle.
                let mut places: Vec<usize> = (0..count).collect();
                for place in 0..share {
                    places.swap(place, random.random_range(place..count));
                    attacked[places[place]] = true;
                }
                attacked
            }
        }
    }

    /// What `batch` is trained on: its images with the marked ones replaced by adversarial examples. Only the marked ones
    /// are crafted.
    fn examples(
        &self,
        batch: &Batch,
        images: &Tensor,
        labels: &Tensor,
        attacked: &[bool],
        replay: u64,
    ) -> Result<Examples> {
        if attacked.len() != batch.ids.len() {
            return Err(Error::Mismatch {
                what: "mask of attacked samples".into(),
                expected: format!("{} entries, one a sample", batch.ids.len()),
                actual: attacked.len().to_string(),
            });
        }
        let step = self.steps_done();
        let places =
            |of: bool| -> Vec<usize> { (0..attacked.len()).filter(|&index| attacked[index] == of).collect() };
        let (selected, clean) = (places(true), places(false));
        // An attack's error about an image of its batch is one about a sample.
        let named = |places: &[usize], error| match error {
            Error::Attack(robustseg_attacks::Error::NotFinite { quantity, index, value }) => {
                let sample = batch.ids[places[index]].clone();
                self.not_finite(format!("the attack's {quantity}"), value, vec![sample])
            }
            other => other,
        };
        let mut examples = Examples {
            images: images.clone(),
            selected: Vec::new(),
            epsilons: Vec::new(),
            penalty: None,
            division: None,
        };
        if let Some(method) = self.method().division() {
            // All of an adversarial sample is for the main branch.
            let mut parts = labels.zeros_like()?.chunk(attacked.len(), 0)?;
            if !clean.is_empty() {
                let (images, labels) = (rows(images, &clean)?, rows(labels, &clean)?);
                let statistics = self.config().practice().statistics;
                let mut random = stream(self.seed(), "division", [step, replay, 0]);
                let divided = method.divide(self.network(), &images, &labels, statistics, &mut random);
                let divided = divided.map_err(|error| named(&clean, error))?;
                for (row, &index) in clean.iter().enumerate() {
                    parts[index] = divided.narrow(0, row, 1)?;
                }
            }
            examples.division = Some(Tensor::cat(&parts, 0)?);
        }
        if selected.is_empty() {
            return Ok(examples);
        }
        let (drawn, truth) = (rows(images, &selected)?, rows(labels, &selected)?);
        let target = Target::new(self.network(), self.config().practice().statistics);
        let mut random = stream(self.seed(), "step_size", [step, replay, 0]);
        let crafted = self.method().craft(&target, &drawn, &truth, &mut random);
        let Some(crafted) = crafted.map_err(|error| named(&selected, error))? else {
            return Ok(examples);
        };
        let mut random = stream(self.seed(), "penalty", [step, replay, 0]);
        let penalty = self.method().penalty(self.network(), &drawn, &truth, &mut random);
        examples.penalty = penalty.map_err(|error| named(&selected, error))?;
        let mut parts = images.chunk(attacked.len(), 0)?;
        for (row, &index) in selected.iter().enumerate() {
            parts[index] = crafted.image.narrow(0, row, 1)?;
        }
        examples.images = Tensor::cat(&parts, 0)?;
        examples.epsilons = crafted.epsilon.to_vec1()?;
        examples.selected = selected;
        Ok(examples)
    }
}

/// What an update is made on.
struct Examples {
    /// The batch's images, clean and adversarial.
    images: Tensor,
    /// Which of them are adversarial.
    selected: Vec<usize>,
    /// The epsilons of those.
    epsilons: Vec<f32>,
    /// What the method minimises beside the loss.
    penalty: Option<Penalty>,
    /// Which pixels (N, H, W) are for the auxiliary branch, if the network is divided.
    division: Option<Tensor>,
}

/// The batch on `device`: images (N, 3, H, W) f32, labels (N, H, W) u8.
fn upload(batch: &Batch, device: &Device) -> Result<(Tensor, Tensor)> {
    let shape = images_shape(batch)?;
    let images = Tensor::from_slice(&batch.images, shape, device)?;
    let labels = Tensor::from_slice(&batch.labels, (shape.0, shape.2, shape.3), device)?;
    Ok((images, labels))
}

/// The shape of the batch's images, which its arrays fit.
pub(crate) fn images_shape(batch: &Batch) -> Result<(usize, usize, usize, usize)> {
    let (count, height, width) = (batch.ids.len(), batch.height, batch.width);
    let pixels = count * height * width;
    if pixels == 0 || batch.images.len() != 3 * pixels || batch.labels.len() != pixels {
        return Err(Error::Mismatch {
            what: "batch".into(),
            expected: format!("{count} samples of {height} x {width} pixels, at least one"),
            actual: format!("{} image values and {} labels", batch.images.len(), batch.labels.len()),
        });
    }
    Ok((count, 3, height, width))
}

/// The rows of `tensor` at `indices` of its first axis.
fn rows(tensor: &Tensor, indices: &[usize]) -> Result<Tensor> {
    let rows =
        indices.iter().map(|&index| tensor.narrow(0, index, 1)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&rows, 0)?)
}

fn mean(values: &[f32]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Free, GradAlign, fixture};
    use robustseg_attacks::{Bim, FastNewton, Fgsm, RandomFgsm};

    fn fgsm() -> MethodConfig {
        MethodConfig::Fgsm(Fgsm::default())
    }

    fn values(tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(tensor.flatten_all()?.to_vec1()?)
    }

    #[test]
    fn half_of_the_samples_are_drawn_each_by_itself_or_all_by_one() -> Result<()> {
        let mut config = fixture::config(fgsm());
        for (draw, batches_in_between) in [(AdversarialDraw::Sample, true), (AdversarialDraw::Batch, false)] {
            config.adversarial_draw = Some(draw);
            let mut trainer = fixture::trainer(&config)?;
            let (mut drawn, mut mixed) = (0, 0);
            for step in 0..1000 {
                trainer.state.step = step;
                let mask = trainer.draw_attacked(4);
                assert_eq!(mask, trainer.draw_attacked(4), "a function of the step");
                let count = mask.iter().filter(|&&attacked| attacked).count();
                drawn += count;
                mixed += usize::from((1..4).contains(&count));
            }
            assert!((1800..2200).contains(&drawn), "{drawn} of 4000");
            // 7/8 of the batches if drawn apart.
            assert_eq!(mixed > 800, batches_in_between, "{mixed}");
        }
        config.adversarial_draw = Some(AdversarialDraw::Exact);
        let mut trainer = fixture::trainer(&config)?;
        let mut drawn = [0; 5];
        for step in 0..1000 {
            trainer.state.step = step;
            let mask = trainer.draw_attacked(5);
            assert_eq!(mask.iter().filter(|&&attacked| attacked).count(), 3, "2.5 of 5, rounded");
            drawn.iter_mut().zip(mask).for_each(|(drawn, attacked)| *drawn += usize::from(attacked));
        }
        assert!(drawn.iter().all(|drawn| (540..660).contains(drawn)), "each place alike: {drawn:?}");
        let basic = fixture::trainer(&fixture::config(MethodConfig::Basic))?;
        assert_eq!(basic.draw_attacked(4), [false; 4]);
        Ok(())
    }

    #[test]
    fn only_marked_samples_are_replaced() -> Result<()> {
        for statistics in [crate::Statistics::Running, crate::Statistics::Batch] {
            let mut config = fixture::config(fgsm());
            config.crafting_statistics = Some(statistics);
            let trainer = fixture::trainer(&config)?;
            let batch = fixture::batch(1, 4);
            let (images, labels) = upload(&batch, &Device::Cpu)?;
            let mask = [false, true, false, true];
            let Examples { images: replaced, selected, epsilons, penalty, .. } =
                trainer.examples(&batch, &images, &labels, &mask, 0)?;
            assert_eq!(selected, [1, 3]);
            assert!(penalty.is_none());
            assert_eq!(epsilons, [0.03, 0.03]);
            for (index, attacked) in mask.into_iter().enumerate() {
                let (old, new) = (values(&images.get(index)?)?, values(&replaced.get(index)?)?);
                let change = old.iter().zip(&new).map(|(old, new)| (old - new).abs()).fold(0.0, f32::max);
                assert_eq!(change > 0.0, attacked);
                assert!(change <= 0.03 + 1e-6);
            }
        }
        Ok(())
    }

    /// Whether a method costs less than a gradient a pixel.
    fn is_affordable(method: &MethodConfig) -> bool {
        !matches!(method, MethodConfig::PixelNewton(_))
    }

    #[test]
    fn every_method_trains_on_half_and_on_all_of_the_samples() -> Result<()> {
        let batch = fixture::batch(1, 2);
        for method in MethodConfig::all() {
            for (probability, steps) in [(0.5, 3), (1.0, 1)] {
                let mut config = fixture::config(method);
                config.adversarial_probability = Some(probability);
                config.adversarial_draw = Some(AdversarialDraw::Exact);
                let mut trainer = fixture::trainer(&config)?;
                let steps = if is_affordable(&method) { steps } else { 1 };
                let attacked = if method == MethodConfig::Basic { 0 } else { (2.0 * probability) as usize };
                for _ in 0..steps {
                    let record = trainer.step(&batch)?;
                    assert_eq!(record.attacked, attacked, "{}", method.name());
                    assert!(record.loss > 0.0, "{}: {}", method.name(), record.loss);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn every_method_lowers_the_loss_of_a_batch() -> Result<()> {
        let batch = fixture::batch(1, 4);
        for method in MethodConfig::all().into_iter().filter(is_affordable) {
            let mut trainer = fixture::trainer(&fixture::config(method))?;
            let mut losses = Vec::new();
            for step in 0..12 {
                let record = trainer.step_with(&batch, &[true, false, true, false])?;
                assert_eq!(record.step, step);
                assert_eq!(record.images, 4);
                assert_eq!(record.attacked, if method == MethodConfig::Basic { 0 } else { 2 });
                assert_eq!(record.epsilon_mean.is_some(), method != MethodConfig::Basic);
                assert_eq!(record.epsilons.len(), record.attacked);
                let parts = record.seconds;
                assert!(parts.forward > 0.0 && parts.backward > 0.0 && parts.optimiser > 0.0);
                losses.push(record.loss);
            }
            assert!(losses[11] < 0.8 * losses[0], "{}: {losses:?}", method.name());
            assert_eq!(trainer.timing().images, 48);
        }
        Ok(())
    }

    #[test]
    fn grad_align_adds_its_penalty_to_the_gradient_of_the_loss() -> Result<()> {
        // Without weight decay, momentum or dropout an update is the rate times the gradient, and that is linear in lambda.
        let batch = fixture::batch(1, 2);
        let moved = |lambda: f64| -> Result<(Vec<f32>, Option<f64>)> {
            let mut config = fixture::config(MethodConfig::GradAlign(GradAlign { epsilon: 0.03, lambda }));
            (config.weight_decay, config.dropout, config.learning_rate) = (0.0, 0.0, 0.1);
            let mut trainer = fixture::trainer(&config)?;
            let name = "head.conv.weight";
            let before = values(trainer.network().parameters()[name].var.as_tensor())?;
            let penalty = trainer.step_with(&batch, &[true, true])?.penalty;
            let after = values(trainer.network().parameters()[name].var.as_tensor())?;
            Ok((before.iter().zip(after).map(|(before, after)| after - before).collect(), penalty))
        };
        let [(none, zero), (once, one), (twice, two)] = [moved(0.0)?, moved(1.0)?, moved(2.0)?];
        assert_eq!(zero, Some(0.0));
        let (one, two) = (one.expect("a penalty"), two.expect("a penalty"));
        assert!(one > 0.0 && (two - 2.0 * one).abs() < 1e-6, "{one} and {two}");
        let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
        let first: Vec<f32> = once.iter().zip(&none).map(|(once, none)| once - none).collect();
        let second: Vec<f32> = twice.iter().zip(&once).map(|(twice, once)| twice - once).collect();
        let apart: Vec<f32> = first.iter().zip(&second).map(|(first, second)| first - second).collect();
        assert!(norm(&first) > 1e-4 * norm(&none), "the penalty moves the weights");
        assert!(norm(&apart) < 1e-2 * norm(&first), "{} of {}", norm(&apart), norm(&first));
        Ok(())
    }

    #[test]
    fn free_updates_several_times_with_a_perturbation_that_it_keeps() -> Result<()> {
        let batch = fixture::batch(1, 2);
        let epsilon = 0.03;
        let free = |replays| MethodConfig::Free(Free { epsilon, replays });
        let weight =
            |trainer: &Trainer| values(trainer.network().parameters()["head.conv.weight"].var.as_tensor());
        let perturbation = |trainer: &Trainer| {
            trainer
                .method()
                .replay()
                .and_then(|replay| replay.perturbation().cloned())
                .expect("a perturbation")
        };
        let mut config = fixture::config(free(2));
        config.dropout = 0.0;
        let mut twice = fixture::trainer(&config)?;
        let record = twice.step_with(&batch, &[true, true])?;
        assert_eq!((record.attacked, twice.steps_done()), (2, 1));
        config.method = free(1);
        // The same as two steps of one replay, at the same rate.
        let mut once = fixture::trainer(&config)?;
        let first = once.step_with(&batch, &[true, true])?;
        let after_one = perturbation(&once);
        once.state.step = 0;
        let second = once.step_with(&batch, &[true, true])?;
        assert_eq!(weight(&once)?, weight(&twice)?);
        assert_eq!(record.loss, first.loss / 2.0 + second.loss / 2.0);
        // The first example is the image itself, so the first perturbation is a whole step; the second stays in the ball.
        let after_two = values(&perturbation(&twice))?;
        assert_eq!(after_two, values(&perturbation(&once))?);
        let whole = values(&after_one)?.iter().filter(|value| value.abs() == epsilon as f32).count();
        assert!(whole as f64 > 0.9 * after_two.len() as f64, "{whole} of {}", after_two.len());
        assert!(after_two.iter().all(|value| value.abs() <= epsilon as f32));
        // With one sample drawn, only the first place moves.
        once.step_with(&batch, &[false, true])?;
        let after_three = perturbation(&once);
        assert_eq!(values(&after_three.get(1)?)?, after_two[after_two.len() / 2..]);
        assert_ne!(values(&after_three.get(0)?)?, after_two[..after_two.len() / 2]);
        Ok(())
    }

    #[test]
    fn a_batch_of_which_nothing_is_attacked_trains_as_basic_does() -> Result<()> {
        let batch = fixture::batch(1, 2);
        let methods = [MethodConfig::Basic, MethodConfig::FastNewton(FastNewton::default())];
        let [basic, newton] = methods.map(|method| -> Result<_> {
            let mut trainer = fixture::trainer(&fixture::config(method))?;
            let record = trainer.step_with(&batch, &[false, false])?;
            assert_eq!((record.attacked, record.epsilon_mean), (0, None));
            Ok((record.loss, values(trainer.network().parameters()["classifier.weight"].var.as_tensor())?))
        });
        assert_eq!(basic?, newton?);
        Ok(())
    }

    #[test]
    fn what_is_not_finite_stops_the_step_and_names_it() -> Result<()> {
        let batch = fixture::batch(1, 2);
        for (method, mask, quantity, samples) in [
            (MethodConfig::Basic, [false, false], "the loss", vec!["sample0", "sample1"]),
            (MethodConfig::Bim(Bim::default()), [false, true], "the attack's objective", vec!["sample1"]),
            (
                MethodConfig::RandomFgsm(RandomFgsm::default()),
                [false, false],
                "the loss",
                vec!["sample0", "sample1"],
            ),
        ] {
            let mut trainer = fixture::trainer(&fixture::config(method))?;
            trainer.step_with(&batch, &[false, false])?;
            let bias = trainer.network().parameters()["classifier.bias"].var.clone();
            bias.set(&Tensor::full(f32::NAN, fixture::CLASSES, &Device::Cpu)?)?;
            let weight = trainer.network().parameters()["classifier.weight"].var.clone();
            let before = values(weight.as_tensor())?;
            let statistics = |trainer: &Trainer| -> Result<Vec<Vec<f32>>> {
                trainer.running_statistics()?.iter().map(|(var, _)| values(var.as_tensor())).collect()
            };
            let statistics_before = statistics(&trainer)?;
            match trainer.step_with(&batch, &mask).unwrap_err() {
                Error::NotFinite { quantity: found, step: 1, samples: ids, value, learning_rate } => {
                    assert!(learning_rate < 0.001, "the second step's");
                    assert_eq!(
                        (found.as_str(), ids),
                        (quantity, samples.into_iter().map(String::from).collect())
                    );
                    assert!(value.is_nan());
                }
                other => panic!("{other}"),
            }
            assert_eq!(values(weight.as_tensor())?, before);
            assert_eq!(statistics(&trainer)?, statistics_before);
            assert_eq!(trainer.steps_done(), 1);
        }
        Ok(())
    }

    #[test]
    fn batches_and_masks_that_do_not_fit_are_refused() -> Result<()> {
        let mut trainer = fixture::trainer(&fixture::config(fgsm()))?;
        let batch = fixture::batch(1, 2);
        assert!(matches!(trainer.step_with(&batch, &[true]), Err(Error::Mismatch { .. })));
        let mut short = fixture::batch(1, 2);
        short.labels.pop();
        assert!(matches!(trainer.step(&short), Err(Error::Mismatch { .. })));
        Ok(())
    }
}
