//! Observes a dataset image by image, clean and attacked.

use candle_core::{DType, Tensor};
use rayon::prelude::*;
use robustseg_attacks::{Case, Cost, Counted, CurveConfig, GradientCheck, Model, check_gradient};
use robustseg_metrics::{ConfusionMatrix, Objects, boundary_distance, boundary_overlap};
use robustseg_ops::{PixelObjective, pixel_objective_per_image, predict};
use robustseg_random::{Rng, stream};

use crate::Result;
use crate::advance::{Passed, Reported};
use crate::batch::EvaluationBatch;
use crate::example::{Example, Worst, landscape, rgb};
use crate::journal::{Entry, Journal};
use crate::observation::{ImageObservations, Observation};
use crate::presented::{Part, Presented};
use crate::seen::Seen;

/// The observations of all images so far, and their cost.
pub(crate) struct Tally<'a> {
    pub(crate) classes: usize,
    /// The curves with gradients of the evaluated model, then with those of each source.
    pub(crate) threats: Vec<Threat<'a>>,
    pub(crate) images: Vec<ImageObservations>,
    pub(crate) costs: Vec<Cost>,
    pub(crate) exhibited: Option<Exhibited>,
    pub(crate) worst: Worst,
    pub(crate) gradient: Option<GradientCheck>,
    seed: u64,
    class_pixels: Option<Vec<u64>>,
}

/// A curve, and the source of its gradients, if the evaluated model is not.
#[derive(Clone)]
pub(crate) struct Threat<'a> {
    pub(crate) curve: &'a CurveConfig,
    pub(crate) source: Option<String>,
}

/// The evaluated model and the sources, under one protocol.
pub(crate) struct Models<'a> {
    pub(crate) target: Presented<'a>,
    pub(crate) sources: Vec<Presented<'a>>,
}

/// The threat and point that produce the examples.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Exhibited {
    pub(crate) threat: usize,
    pub(crate) point: usize,
}

/// Observations and predictions of the images of a batch.
struct Observed {
    observations: Vec<Observation>,
    predictions: Vec<Vec<u8>>,
}

/// The images of a batch clean, and attacked in each of the candidates' ways.
struct Form<'a> {
    clean: &'a Observed,
    candidates: &'a [Vec<Tensor>],
    observed: &'a [Observed],
}

/// A batch: labels (N, H, W), the same as bytes, and the parts of images that are attacked.
struct Batch<'a> {
    label: &'a Tensor,
    truth: Vec<Vec<u8>>,
    parts: Vec<Part>,
}

impl Batch<'_> {
    /// Height and width of the labels.
    fn size(&self) -> Result<[usize; 2]> {
        let (_, height, width) = self.label.dims3()?;
        Ok([height, width])
    }

    fn images(&self) -> Vec<Tensor> {
        self.parts.iter().map(|(image, _)| image.clone()).collect()
    }
}

impl<'a> Tally<'a> {
    /// A tally that keeps up to `examples` images as examples: those that the last curve makes the
    /// worst at its largest epsilon.
    pub(crate) fn new(classes: usize, curves: &'a [CurveConfig], examples: usize) -> Self {
        let exhibited = curves.len().checked_sub(1).and_then(|curve| {
            let points = curves[curve].epsilons().iter().enumerate();
            let (point, _) =
                points.filter(|(_, epsilon)| **epsilon > 0.0).max_by(|a, b| a.1.total_cmp(b.1))?;
            Some(Exhibited { threat: curve, point })
        });
        let threats: Vec<Threat<'_>> = curves.iter().map(|curve| Threat { curve, source: None }).collect();
        let costs = vec![Cost::default(); threats.len()];
        let (images, worst) = (Vec::new(), Worst::new(examples));
        let (gradient, class_pixels) = (None, None);
        Self { classes, threats, images, costs, exhibited, worst, gradient, seed: 0, class_pixels }
    }

    /// Adds the curves with gradients of each of the `sources`.
    pub(crate) fn with_sources<'n>(mut self, sources: impl IntoIterator<Item = &'n str>) -> Self {
        let curves = self.threats.clone();
        for source in sources {
            let of_source = |threat: &Threat<'a>| Threat { source: Some(source.into()), ..*threat };
            self.threats.extend(curves.iter().map(of_source));
        }
        self.costs.resize(self.threats.len(), Cost::default());
        self
    }

    /// Uses `seed` instead of 0 for the attacks' random starts.
    pub(crate) fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Whether an attack needs the number of labelled pixels of each class in the dataset.
    pub(crate) fn wants_class_pixels(&self) -> bool {
        self.threats.iter().any(|threat| threat.curve.attack().needs_class_pixels())
    }

    /// Gives the attacks the number of labelled pixels of each class.
    pub(crate) fn set_class_pixels(&mut self, class_pixels: Vec<u64>) {
        self.class_pixels = Some(class_pixels);
    }

    /// Whether an attack will use the gradient and nothing has compared it with the loss yet.
    pub(crate) fn wants_gradient_check(&self) -> bool {
        self.gradient.is_none()
            && self.threats.iter().flat_map(|threat| threat.curve.epsilons()).any(|&epsilon| epsilon > 0.0)
    }

    /// Compares the gradient of the model with the slope of its loss, on the first image of a
    /// prepared batch that has a labelled pixel, if there is one. The check does not count towards
    /// the cost of an attack.
    ///
    /// # Errors
    /// A gross difference, which would make all scores under attack worthless.
    pub(crate) fn check_gradient(
        &mut self,
        presented: &Presented<'_>,
        EvaluationBatch { image, label, .. }: &EvaluationBatch,
    ) -> Result<()> {
        let model = presented.of_part();
        for (image, label) in presented.parts(image, label)? {
            self.gradient = check_gradient(&model, &image, &label)?;
            if self.gradient.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Observes the model on a prepared batch, clean and under every attack. At epsilon 0 it reuses
    /// the clean observation. `passed` learns of passes as they happen.
    pub(crate) fn add(
        &mut self,
        models: &Models<'_>,
        batch: &EvaluationBatch,
        passed: Passed<'_>,
    ) -> Result<()> {
        let seen = self.see(models, batch, self.len(), passed)?;
        self.take_in(seen)
    }

    /// The observations of [`Tally::add`], for a batch whose first image has this `number`.
    pub(crate) fn see(
        &self,
        models: &Models<'_>,
        EvaluationBatch { ids, image, label }: &EvaluationBatch,
        number: usize,
        passed: Passed<'_>,
    ) -> Result<Seen> {
        let presented = &models.target;
        let parts = presented.parts(image, label)?;
        let batch = Batch { label, truth: label.flatten_from(1)?.to_vec2()?, parts };
        let clean = self.observe(presented, &batch, &batch.images())?;
        let (mut costs, mut worst) = (vec![Cost::default(); self.threats.len()], self.worst.empty());
        let new = |(id, clean): (&String, &Observation)| ImageObservations {
            id: id.clone(),
            clean: clean.clone(),
            attacked: Vec::with_capacity(self.threats.len()),
        };
        let mut images: Vec<ImageObservations> = ids.iter().zip(&clean.observations).map(new).collect();
        let of_each = self.threats.len() / (1 + models.sources.len());
        let all = std::iter::once(presented).chain(&models.sources).enumerate();
        let attackers = all.flat_map(|(place, model)| (0..of_each).map(move |curve| (place, curve, model)));
        for (index, (place, curve, attacker)) in attackers.enumerate() {
            let random = &mut stream(self.seed, "evaluation", [number as u64, curve as u64, place as u64]);
            let curve = self.threats[index].curve;
            let above_zero: Vec<f64> =
                curve.epsilons().iter().copied().filter(|&epsilon| epsilon > 0.0).collect();
            let class_pixels = self.class_pixels.as_deref();
            let (attacked, cost) =
                attack(curve, &above_zero, attacker, &batch, class_pixels, random, passed)?;
            let mut attacked = attacked.into_iter();
            costs[index] = cost;
            for image in &mut images {
                image.attacked.push(Vec::new());
            }
            for (point, &epsilon) in curve.epsilons().iter().enumerate() {
                let candidates = if epsilon > 0.0 { attacked.next() } else { None };
                let Some(candidates) = candidates else {
                    for image in &mut images {
                        image.attacked[index].push(vec![image.clean.clone()]);
                    }
                    continue;
                };
                let observed = candidates
                    .iter()
                    .map(|candidate| self.observe(presented, &batch, candidate))
                    .collect::<Result<Vec<_>>>()?;
                for (row, image) in images.iter_mut().enumerate() {
                    image.attacked[index]
                        .push(observed.iter().map(|one| one.observations[row].clone()).collect());
                }
                if self.exhibited == Some(Exhibited { threat: index, point }) {
                    let form = Form { clean: &clean, candidates: &candidates, observed: &observed };
                    self.exhibit(presented, &batch, ids, number, &form, &mut worst)?;
                }
            }
        }
        Ok(Seen { images, costs, examples: worst.into_numbered() })
    }

    /// Adds the observations of a batch. The batches of an evaluation come in their order.
    pub(crate) fn take_in(&mut self, Seen { images, costs, mut examples }: Seen) -> Result<()> {
        self.images.extend(images);
        self.costs.iter_mut().zip(costs).for_each(|(sum, cost)| *sum += cost);
        examples.sort_by_key(|(number, _)| *number);
        for (number, example) in examples {
            self.worst.offer(number, example.pixel_accuracy, || Ok(example))?;
        }
        Ok(())
    }

    /// The number of observed images.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// [`Tally::take_in`], and records the observations, which took some `seconds`, in `journal`.
    pub(crate) fn take_into(&mut self, journal: &mut Journal, seen: Seen, seconds: f64) -> Result<()> {
        let (first, spent) = (self.len(), seen.costs.clone());
        self.take_in(seen)?;
        journal.append(&self.images[first..], &spent, self.worst.examples(), seconds)
    }

    /// The observations that earlier processes left in `journal`, all in one.
    pub(crate) fn recorded(&self, journal: &mut Journal) -> Result<Seen> {
        let (entries, examples) = journal.take()?;
        let mut seen = Seen { costs: vec![Cost::default(); self.threats.len()], examples, ..Seen::default() };
        for Entry { images, costs, .. } in entries {
            seen.images.extend(images);
            seen.costs.iter_mut().zip(costs).for_each(|(sum, cost)| *sum += cost);
        }
        Ok(seen)
    }

    /// Observes the `images` of all parts: those of the batch or an attacked form of them.
    fn observe(&self, presented: &Presented<'_>, batch: &Batch<'_>, images: &[Tensor]) -> Result<Observed> {
        let (count, height, width) = batch.label.dims3()?;
        let logits = presented.logits_of(images, [height, width])?;
        let (objective, alignment) = (PixelObjective::CrossEntropy, presented.alignment());
        let losses = pixel_objective_per_image(&logits, batch.label, objective, alignment)?;
        let losses: Vec<f32> = losses.to_vec1()?;
        let predictions = predict(&logits, height, width, alignment)?;
        let predictions: Vec<Vec<u8>> = predictions.flatten_from(1)?.to_vec2()?;
        let (mut changes, mut frees) = (Vec::new(), Vec::new());
        for ((clean, _), image) in batch.parts.iter().zip(images) {
            changes.push((image - clean)?.abs()?.flatten_from(1)?);
            // Where an image is black or white already, half of the steps have no effect.
            frees.push((clean.gt(0.0)? * clean.lt(1.0)?)?.flatten_from(1)?);
        }
        let (change, free) = (Tensor::cat(&changes, 1)?, Tensor::cat(&frees, 1)?);
        let largest: Vec<f32> = change.max(1)?.to_vec1()?;
        let still = (change.eq(0.0)? * &free)?;
        let share =
            |mask: &Tensor| -> Result<Vec<f32>> { Ok(mask.to_dtype(DType::F32)?.mean(1)?.to_vec1()?) };
        let (free, still) = (share(&free)?, share(&still)?);
        let distance = boundary_distance(width, height);
        // A GPU waits for this.
        let observations = (0..count).into_par_iter().map(|row| {
            let mut matrix = ConfusionMatrix::new(self.classes);
            let (prediction, truth) = (&predictions[row], &batch.truth[row]);
            matrix.update(prediction, truth)?;
            Ok(Observation {
                pairs: matrix.pairs(),
                overlap: matrix.overlap(),
                boundary: boundary_overlap(prediction, truth, width, self.classes, distance)?,
                objects: Objects::of(prediction, truth, width, self.classes)?,
                loss: losses[row],
                largest: largest[row],
                unmoved: still[row] / free[row].max(f32::MIN_POSITIVE),
            })
        });
        let observations = observations.collect::<Result<Vec<_>>>()?;
        Ok(Observed { observations, predictions })
    }

    /// Offers the images of a batch, from number `first` on, as examples to `kept`, each in its worst
    /// form.
    fn exhibit(
        &self,
        presented: &Presented<'_>,
        batch: &Batch<'_>,
        ids: &[String],
        first: usize,
        Form { clean, candidates, observed }: &Form<'_>,
        kept: &mut Worst,
    ) -> Result<()> {
        let [height, width] = batch.size()?;
        for (row, id) in ids.iter().enumerate() {
            let accuracy = |one: &Observed| one.observations[row].overlap.pixel_accuracy();
            let forms = observed.iter().zip(*candidates);
            let worst = forms.filter_map(|(one, example)| Some((accuracy(one)?, one, example)));
            let Some((pixel_accuracy, one, attacked)) = worst.min_by(|a, b| a.0.total_cmp(&b.0)) else {
                continue;
            };
            if !self.worst.would_keep(pixel_accuracy) {
                continue;
            }
            kept.offer(first + row, pixel_accuracy, || {
                let of_row = |parts: &[Tensor]| -> Result<Vec<Tensor>> {
                    parts.iter().map(|part| Ok(part.narrow(0, row, 1)?)).collect()
                };
                let (image, adversarial) = (of_row(&batch.images())?, of_row(attacked)?);
                let label = batch.label.narrow(0, row, 1)?;
                let picture = |parts: &[Tensor]| rgb(&presented.picture(parts, [height, width])?);
                Ok(Example {
                    id: id.clone(),
                    width,
                    height,
                    image: picture(&image)?,
                    label: batch.truth[row].clone(),
                    prediction: clean.predictions[row].clone(),
                    adversarial: picture(&adversarial)?,
                    adversarial_prediction: one.predictions[row].clone(),
                    pixel_accuracy,
                    landscape: landscape(presented, &image, &adversarial, &label)?,
                })
            })?;
        }
        Ok(())
    }
}

/// The examples of `curve` on the `presented` model at `epsilons` for all parts of `batch`: for each
/// epsilon and candidate, the images of all parts. A pass in the cost covers all parts.
fn attack(
    curve: &CurveConfig,
    epsilons: &[f64],
    presented: &Presented<'_>,
    batch: &Batch<'_>,
    class_pixels: Option<&[u64]>,
    random: &mut dyn Rng,
    passed: Passed<'_>,
) -> Result<(Vec<Vec<Vec<Tensor>>>, Cost)> {
    let mut all: Vec<Vec<Vec<Tensor>>> = Vec::new();
    if epsilons.is_empty() {
        return Ok((all, Cost::default()));
    }
    let (model, parts) = (presented.of_part(), batch.parts.len().max(1) as u64);
    let mut rest = 0;
    let mut of_parts = |images| {
        rest += images;
        let whole = rest / parts;
        rest %= parts;
        passed(whole)
    };
    let reported = Reported::new(&model, &mut of_parts);
    let counted = Counted::new(&reported);
    for (image, label) in &batch.parts {
        let mut case = Case::new(&counted, image, label)?;
        if let Some(class_pixels) = class_pixels {
            case = case.with_class_pixels(class_pixels);
        }
        let examples = curve.attack().examples(&case, epsilons, random)?;
        all.resize_with(examples.len(), Vec::new);
        for (all, examples) in all.iter_mut().zip(examples) {
            all.resize_with(examples.len(), Vec::new);
            all.iter_mut().zip(examples).for_each(|(all, example)| all.push(example.image));
        }
    }
    let Cost { forward, backward } = counted.take();
    Ok((all, Cost { forward: forward.div_ceil(parts), backward: backward.div_ceil(parts) }))
}
