//! Counting of predictions, clean and attacked, over a dataset.

use std::time::Instant;

use candle_core::{DType, Tensor};
use robustseg_attacks::{Budget, Counted, GradientCheck, Model, check_gradient};
use robustseg_metrics::{ConfusionMatrix, Overlap, boundary_distance, boundary_overlap};
use robustseg_ops::{PixelObjective, pixel_objective_per_image, predict};
use robustseg_random::stream;
use serde::{Deserialize, Serialize};

use crate::example::{Worst, landscape, rgb};
use crate::journal::{Entry, Journal};
use crate::sight::{Sight, scores};
use crate::warning::{Measured, inexact_gradient, warnings};
use crate::worst_case::worst_case;
use crate::{
    CandidateScores, Curve, CurveConfig, Evaluated, Evaluation, Example, ExampleAttack, ImageRecord,
    Parameters, Passes, Point, Result, Scope, Scores, Warning,
};

/// What was seen of all images so far: without attack, and at each point of each curve.
pub(crate) struct Tally<'a> {
    classes: usize,
    curves: &'a [CurveConfig],
    images: Vec<Seen>,
    budgets: Vec<Budget>,
    exhibited: Option<Exhibited>,
    worst: Worst,
    seed: u64,
    gradient: Option<GradientCheck>,
}

/// What was seen of one image; of each curve and each point of it, of all the examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    id: String,
    clean: Sight,
    attacked: Vec<Vec<Vec<Sight>>>,
}

/// The curve and point that examples are made by.
#[derive(Clone, Copy, PartialEq)]
struct Exhibited {
    curve: usize,
    point: usize,
}

/// Sights and predictions of the images of a batch.
struct Look {
    sights: Vec<Sight>,
    predictions: Vec<Vec<u8>>,
}

/// A batch as it came: images (N, 3, H, W) and labels (N, H, W), and the latter as bytes.
struct Batch<'a> {
    image: &'a Tensor,
    label: &'a Tensor,
    truth: Vec<Vec<u8>>,
}

impl<'a> Tally<'a> {
    /// A tally that keeps `examples` images: those that the last curve makes the worst at its largest epsilon.
    pub(crate) fn new(classes: usize, curves: &'a [CurveConfig], examples: usize) -> Self {
        let exhibited = curves.len().checked_sub(1).and_then(|curve| {
            let points = curves[curve].epsilons().iter().enumerate();
            let (point, _) =
                points.filter(|(_, epsilon)| **epsilon > 0.0).max_by(|a, b| a.1.total_cmp(b.1))?;
            Some(Exhibited { curve, point })
        });
        let budgets = vec![Budget::default(); curves.len()];
        let (images, worst) = (Vec::new(), Worst::new(examples));
        Self { classes, curves, images, budgets, exhibited, worst, seed: 0, gradient: None }
    }

    /// The same, with another seed of the attacks' random starts than 0.
    pub(crate) fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Whether the curves' attacks follow a gradient that was not compared with the loss yet.
    pub(crate) fn wants_gradient_check(&self) -> bool {
        self.gradient.is_none()
            && self.curves.iter().flat_map(CurveConfig::epsilons).any(|&epsilon| epsilon > 0.0)
    }

    /// Compares the gradient of `model` with its loss on the first of the images (N, 3, H, W) that has a labelled pixel in
    /// `label` (N, H, W), if one has. What it costs is no attack's cost.
    ///
    /// # Errors
    /// If they differ grossly: no number under attack would be worth anything.
    pub(crate) fn check_gradient(&mut self, model: &dyn Model, image: &Tensor, label: &Tensor) -> Result<()> {
        self.gradient = check_gradient(model, image, label)?;
        Ok(())
    }

    /// Counts `model`'s predictions for `image` (N, 3, H, W) with `label` (N, H, W), the samples `ids`, clean and under
    /// every attack. At epsilon 0 the clean prediction is counted again, not made again.
    pub(crate) fn add(
        &mut self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        ids: &[&str],
    ) -> Result<()> {
        let batch = Batch { image, label, truth: label.flatten_from(1)?.to_vec2()? };
        let clean = self.look(model, &batch, image)?;
        let number = self.images.len() as u64;
        let new = |(id, clean): (&&str, &Sight)| Seen {
            id: (*id).into(),
            clean: clean.clone(),
            attacked: Vec::with_capacity(self.curves.len()),
        };
        let mut images: Vec<Seen> = ids.iter().zip(&clean.sights).map(new).collect();
        for (index, curve) in self.curves.iter().enumerate() {
            let above_zero: Vec<f64> =
                curve.epsilons().iter().copied().filter(|&epsilon| epsilon > 0.0).collect();
            let counted = Counted::new(model);
            let random = &mut stream(self.seed, "evaluation", [number, index as u64, 0]);
            let mut attacked = curve.attack(&counted, image, label, &above_zero, random)?.into_iter();
            let Budget { forward, backward } = counted.take();
            self.budgets[index].forward += forward;
            self.budgets[index].backward += backward;
            for seen in &mut images {
                seen.attacked.push(Vec::new());
            }
            for (point, &epsilon) in curve.epsilons().iter().enumerate() {
                let candidates = if epsilon > 0.0 { attacked.next() } else { None };
                let Some(candidates) = candidates else {
                    for seen in &mut images {
                        seen.attacked[index].push(vec![seen.clean.clone()]);
                    }
                    continue;
                };
                let looks = candidates
                    .iter()
                    .map(|candidate| self.look(model, &batch, candidate))
                    .collect::<Result<Vec<_>>>()?;
                for (row, seen) in images.iter_mut().enumerate() {
                    seen.attacked[index].push(looks.iter().map(|look| look.sights[row].clone()).collect());
                }
                if self.exhibited == Some(Exhibited { curve: index, point }) {
                    self.exhibit(model, &batch, ids, &clean, &candidates, &looks)?;
                }
            }
        }
        self.images.extend(images);
        Ok(())
    }

    /// Images that were counted.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// [`Tally::add`], and what it added goes into `journal`.
    pub(crate) fn add_to(
        &mut self,
        journal: &mut Journal,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        ids: &[&str],
    ) -> Result<()> {
        let start = Instant::now();
        let (first, before) = (self.images.len(), self.budgets.clone());
        self.add(model, image, label, ids)?;
        let spent = self.budgets.iter().zip(before).map(|(now, before)| Budget {
            forward: now.forward - before.forward,
            backward: now.backward - before.backward,
        });
        let spent: Vec<Budget> = spent.collect();
        journal.append(&self.images[first..], &spent, self.worst.examples(), start.elapsed().as_secs_f64())
    }

    /// Takes up what `journal` holds of earlier processes: it is then as if this one had counted all of it.
    pub(crate) fn restore(&mut self, journal: &mut Journal) -> Result<()> {
        let (entries, examples) = journal.take()?;
        for Entry { images, budgets, .. } in entries {
            self.images.extend(images);
            for (sum, Budget { forward, backward }) in self.budgets.iter_mut().zip(budgets) {
                sum.forward += forward;
                sum.backward += backward;
            }
        }
        self.worst.restore(examples);
        Ok(())
    }

    /// What `model` makes of `image`, the batch's or an attacked form of it.
    fn look(&self, model: &dyn Model, batch: &Batch<'_>, image: &Tensor) -> Result<Look> {
        let (count, height, width) = batch.label.dims3()?;
        let logits = model.logits(image)?;
        let objective = PixelObjective::CrossEntropy;
        let losses = pixel_objective_per_image(&logits, batch.label, objective, model.alignment())?;
        let losses: Vec<f32> = losses.to_vec1()?;
        let predictions = predict(&logits, height, width, model.alignment())?;
        let predictions: Vec<Vec<u8>> = predictions.flatten_from(1)?.to_vec2()?;
        let change = (image - batch.image)?.abs()?.flatten_from(1)?;
        let largest: Vec<f32> = change.max(1)?.to_vec1()?;
        // Where an image is black or white already, half of the steps lead nowhere.
        let free = (batch.image.gt(0.0)? * batch.image.lt(1.0)?)?.flatten_from(1)?;
        let still = (change.eq(0.0)? * &free)?;
        let share =
            |mask: &Tensor| -> Result<Vec<f32>> { Ok(mask.to_dtype(DType::F32)?.mean(1)?.to_vec1()?) };
        let (free, still) = (share(&free)?, share(&still)?);
        let distance = boundary_distance(width, height);
        let sights = (0..count).map(|row| {
            let mut matrix = ConfusionMatrix::new(self.classes);
            let (prediction, truth) = (&predictions[row], &batch.truth[row]);
            matrix.update(prediction, truth)?;
            Ok(Sight {
                pairs: matrix.pairs(),
                overlap: matrix.overlap(),
                boundary: boundary_overlap(prediction, truth, width, self.classes, distance)?,
                loss: losses[row],
                largest: largest[row],
                unmoved: still[row] / free[row].max(f32::MIN_POSITIVE),
            })
        });
        let sights = sights.collect::<Result<_>>()?;
        Ok(Look { sights, predictions })
    }

    /// Offers the images of a batch as examples, each in its worst form.
    fn exhibit(
        &mut self,
        model: &dyn Model,
        batch: &Batch<'_>,
        ids: &[&str],
        clean: &Look,
        candidates: &[Tensor],
        looks: &[Look],
    ) -> Result<()> {
        let (_, height, width) = batch.label.dims3()?;
        let first = self.images.len();
        for (row, id) in ids.iter().enumerate() {
            let accuracy = |look: &Look| look.sights[row].overlap.pixel_accuracy();
            let worst =
                looks.iter().zip(candidates).filter_map(|(look, image)| Some((accuracy(look)?, look, image)));
            let Some((pixel_accuracy, look, image)) = worst.min_by(|a, b| a.0.total_cmp(&b.0)) else {
                continue;
            };
            self.worst.offer(first + row, pixel_accuracy, || {
                let (image, adversarial) = (batch.image.narrow(0, row, 1)?, image.narrow(0, row, 1)?);
                let label = batch.label.narrow(0, row, 1)?;
                Ok(Example {
                    id: (*id).into(),
                    width,
                    height,
                    image: rgb(&image)?,
                    label: batch.truth[row].clone(),
                    prediction: clean.predictions[row].clone(),
                    adversarial: rgb(&adversarial)?,
                    adversarial_prediction: look.predictions[row].clone(),
                    pixel_accuracy,
                    landscape: landscape(model, &image, &adversarial, &label)?,
                })
            })?;
        }
        Ok(())
    }

    /// What was seen of each image at `point` of `curve`.
    fn seen(&self, curve: usize, point: usize) -> Vec<Vec<&Sight>> {
        self.images.iter().map(|image| image.attacked[curve][point].iter().collect()).collect()
    }

    /// The scores of all that was counted.
    fn evaluation(&self) -> Result<Evaluation> {
        let clean = self.clean()?;
        let curves: Vec<Curve> =
            (0..self.curves.len()).map(|index| self.curve(index)).collect::<Result<_>>()?;
        let inexact = self.gradient.and_then(|check| inexact_gradient(check, self.curves));
        let warnings = inexact.into_iter().chain(self.warnings(clean.miou, &curves)).collect();
        let worst_case = self.worst_case()?;
        let scope = Scope { images: Some(self.images.len()), ..Scope::default() };
        Ok(Evaluation { clean, curves, worst_case, warnings, checkpoint: None, training: None, scope })
    }

    /// The scores without an attack.
    pub(crate) fn clean(&self) -> Result<Scores> {
        scores(&self.images.iter().map(|image| vec![&image.clean]).collect::<Vec<_>>())
    }

    fn warnings(&self, clean_miou: f64, curves: &[Curve]) -> Vec<Warning> {
        let measured: Vec<Measured<'_>> = curves
            .iter()
            .enumerate()
            .map(|(index, curve)| Measured {
                config: &self.curves[index],
                points: &curve.points,
                seen: (0..curve.points.len()).map(|point| self.seen(index, point)).collect(),
            })
            .collect();
        let clean: Vec<&Sight> = self.images.iter().map(|image| &image.clean).collect();
        warnings(&clean, clean_miou, &measured)
    }

    fn curve(&self, index: usize) -> Result<Curve> {
        let config = &self.curves[index];
        let names = config.candidates();
        let point = |(point, &epsilon): (usize, &f64)| {
            let seen = self.seen(index, point);
            let candidate = |(place, name): (usize, &String)| {
                let alone = Overlap::sum(self.classes, seen.iter().map(|seen| &seen[place].overlap));
                let (miou, pixel_accuracy) = (alone.mean_iou()?, alone.pixel_accuracy()?);
                Some(CandidateScores { name: name.clone(), miou, pixel_accuracy })
            };
            let several = epsilon > 0.0;
            let candidates = names.iter().filter(|_| several).enumerate().filter_map(candidate).collect();
            Ok(Point { epsilon, scores: scores(&seen)?, candidates })
        };
        let points = config.epsilons().iter().enumerate().map(point).collect::<Result<_>>()?;
        let images = self.images.len().max(1) as f64;
        let Budget { forward, backward } = self.budgets[index];
        let passes = Passes { forward: forward as f64 / images, backward: backward as f64 / images };
        Ok(Curve {
            attack: config.name().into(),
            parameters: config.parameters(),
            points,
            passes: Some(passes),
        })
    }

    /// The worst case over all curves, at each of their epsilons above 0.
    fn worst_case(&self) -> Result<Vec<Point>> {
        let clean: Vec<&Sight> = self.images.iter().map(|image| &image.clean).collect();
        let points = self.curves.iter().enumerate().flat_map(|(curve, config)| {
            let epsilons = config.epsilons().iter().enumerate();
            epsilons.map(move |(point, &epsilon)| (epsilon, self.seen(curve, point)))
        });
        worst_case(&clean, points.collect())
    }

    /// What was seen of each image, for the lines of `images.jsonl`: the clean image, then the curves' examples, those at
    /// epsilon 0 left out.
    fn records(&self) -> Vec<ImageRecord> {
        let record =
            |id: &str, attack: Option<&CurveConfig>, epsilon, candidate: Option<&String>, sight: &Sight| {
                ImageRecord {
                    id: id.into(),
                    attack: attack.map(|curve| curve.name().into()),
                    parameters: attack.map_or_else(Parameters::default, CurveConfig::parameters),
                    epsilon,
                    candidate: candidate.cloned(),
                    loss: sight.loss,
                    largest_perturbation: sight.largest,
                    confusion: sight.pairs.clone(),
                }
            };
        let mut records = Vec::new();
        for Seen { id, clean, attacked } in &self.images {
            records.push(record(id, None, 0.0, None, clean));
            for (curve, points) in self.curves.iter().zip(attacked) {
                let names = curve.candidates();
                let points = curve.epsilons().iter().zip(points).filter(|(epsilon, _)| **epsilon > 0.0);
                for (&epsilon, sights) in points {
                    let sights = sights.iter().enumerate();
                    records.extend(
                        sights
                            .map(|(place, sight)| record(id, Some(curve), epsilon, names.get(place), sight)),
                    );
                }
            }
        }
        records
    }

    /// All of it.
    pub(crate) fn evaluated(self) -> Result<Evaluated> {
        let (evaluation, images) = (self.evaluation()?, self.records());
        let example_attack = self.exhibited.map(|Exhibited { curve, point }| {
            let curve = &self.curves[curve];
            let (attack, parameters) = (curve.name().into(), curve.parameters());
            ExampleAttack { attack, parameters, epsilon: curve.epsilons()[point] }
        });
        Ok(Evaluated { evaluation, images, examples: self.worst.into_examples(), example_attack })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ApgdCurve, FgsmCurve, IteratedCurve, MiFgsmCurve, PgdCurve, SeaCurve, StartedCurve, WarningKind,
    };
    use crate::{Error, EvaluationBatch, evaluate_model};
    use candle_core::Device;
    use rand::RngExt;
    use robustseg_attacks::{IGNORE_LABEL, Start};
    use robustseg_random::stream;

    /// Images whose red value tells the class, a fifth each, by `margin` inside its fifth; a few pixels unlabelled.
    fn scene(margin: f32) -> Result<(Tensor, Tensor)> {
        let random = &mut stream(1, "scene", [0; 3]);
        let labels: Vec<u8> = (0..2 * 24 * 32).map(|_| random.random_range(0..5)).collect();
        let red: Vec<f32> = labels.iter().map(|&label| (f32::from(label) + margin) / 5.0).collect();
        let red = Tensor::from_vec(red, (2, 1, 24, 32), &Device::Cpu)?;
        let image = Tensor::cat(&[&red, &red.zeros_like()?, &red.zeros_like()?], 1)?;
        let labels =
            labels.into_iter().map(|label| if random.random::<f32>() < 0.1 { IGNORE_LABEL } else { label });
        Ok((image, Tensor::from_vec(labels.collect(), (2, 24, 32), &Device::Cpu)?))
    }

    /// Logits that are largest for the fifth that the red value is in.
    fn reads_red(image: &Tensor) -> candle_core::Result<Tensor> {
        let red = image.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?;
        let centres = Tensor::new(&[0.1_f32, 0.3, 0.5, 0.7, 0.9], image.device())?;
        red.broadcast_sub(&centres)?.sqr()?.affine(-100.0, 0.0)
    }

    fn curves() -> Vec<CurveConfig> {
        let epsilons = vec![0.0, 0.02, 0.3];
        let iterated = IteratedCurve { alpha: 0.05, steps: 3, epsilons: epsilons.clone() };
        vec![CurveConfig::Fgsm(FgsmCurve { epsilons }), CurveConfig::Bim(iterated)]
    }

    #[test]
    fn a_perfect_model_scores_one_until_the_attack_reaches_the_next_class() -> Result<()> {
        let (image, label) = scene(0.3)?;
        let curves = curves();
        let mut tally = Tally::new(6, &curves, 0);
        tally.add(&reads_red, &image, &label, &["a", "b"])?;
        tally.add(&reads_red, &image, &label, &["c", "d"])?;
        let evaluation = tally.evaluation()?;
        assert_eq!((evaluation.clean.miou, evaluation.clean.pixel_accuracy), (1.0, 1.0));
        let perfect = [Some(1.0); 5].into_iter().chain([None]).collect::<Vec<_>>();
        assert_eq!(evaluation.clean.iou, perfect);
        for curve in &evaluation.curves {
            assert_eq!(curve.points[0].scores, evaluation.clean);
            assert_eq!(curve.points[1].scores, evaluation.clean, "0.02 stays inside a fifth");
            assert!(curve.points[2].scores.pixel_accuracy < 0.5, "{:?}", curve.points[2]);
        }
        Ok(())
    }

    #[test]
    fn a_model_that_sees_nothing_scores_chance() -> Result<()> {
        let (image, label) = scene(0.5)?;
        let blind = |image: &Tensor| {
            let (n, _, h, w) = image.dims4()?;
            let random = &mut stream(2, "noise", [0; 3]);
            let logits: Vec<f32> = (0..n * h * w * 5).map(|_| random.random()).collect();
            Tensor::from_vec(logits, (n, h, w, 5), image.device())
        };
        let mut tally = Tally::new(5, &[], 0);
        tally.add(&blind, &image, &label, &["a", "b"])?;
        let clean = tally.evaluation()?.clean;
        assert!((clean.pixel_accuracy - 0.2).abs() < 0.04, "{clean:?}");
        assert!((clean.miou - 1.0 / 9.0).abs() < 0.03, "{clean:?}");
        Ok(())
    }

    #[test]
    fn nothing_labelled_is_an_error() -> Result<()> {
        let (image, label) = scene(0.5)?;
        let mut tally = Tally::new(5, &[], 0);
        let label = Tensor::full(IGNORE_LABEL, label.shape(), &Device::Cpu)?;
        tally.add(&reads_red, &image, &label, &["a", "b"])?;
        assert!(tally.evaluation().unwrap_err().to_string().contains("at least one labelled pixel"));
        Ok(())
    }

    fn kinds(evaluation: &Evaluation, attack: &str, epsilon: f64) -> Vec<WarningKind> {
        let here = |warning: &&Warning| warning.attack == attack && warning.epsilon == epsilon;
        evaluation.warnings.iter().filter(here).map(|warning| warning.kind).collect()
    }

    /// One pass over `image`, whose pixels are labelled 0 where no label is given.
    fn evaluate(
        model: &dyn Model,
        image: &Tensor,
        label: Option<&Tensor>,
        curves: &[CurveConfig],
    ) -> Result<Evaluation> {
        let (n, _, h, w) = image.dims4()?;
        let zeros = Tensor::zeros((n, h, w), DType::U8, image.device())?;
        let mut tally = Tally::new(5, curves, 0);
        let ids: Vec<&str> = vec!["some"; n];
        tally.add(model, image, label.unwrap_or(&zeros), &ids)?;
        tally.evaluation()
    }

    #[test]
    fn masked_gradients_and_balls_left_unused_are_told() -> Result<()> {
        let (image, label) = scene(0.3)?;
        let red = image.narrow(1, 0, 1)?;
        let grey = Tensor::full(0.5_f32, red.shape(), &Device::Cpu)?;
        let image = Tensor::cat(&[&red, &grey, &grey], 1)?;
        // Two of three channels have no gradient.
        let evaluation = evaluate(&reads_red, &image, Some(&label), &curves())?;
        assert!(kinds(&evaluation, "fgsm", 0.02).contains(&WarningKind::ZeroGradient));
        // 3 steps of 0.05 reach 0.15 of 0.3, and FGSM's one step all of it.
        assert!(kinds(&evaluation, "bim", 0.3).contains(&WarningKind::BudgetUnused));
        assert!(!kinds(&evaluation, "bim", 0.02).contains(&WarningKind::BudgetUnused));
        assert!(!kinds(&evaluation, "fgsm", 0.3).contains(&WarningKind::BudgetUnused));
        // All channels matter: nothing to say.
        let sees_all = |image: &Tensor| {
            let red = image.sum_keepdim(1)?.affine(1.0, -1.0)?;
            reads_red(&red.broadcast_as(image.shape())?)
        };
        let curve = CurveConfig::Fgsm(FgsmCurve { epsilons: vec![0.0, 0.01] });
        assert_eq!(evaluate(&sees_all, &image, Some(&label), &[curve])?.warnings, []);
        Ok(())
    }

    /// `first` against zeros for the other four classes.
    fn against_zeros(first: &Tensor) -> candle_core::Result<Tensor> {
        let zeros = first.zeros_like()?;
        Tensor::cat(&[first, &zeros, &zeros, &zeros, &zeros], 1)?.permute((0, 2, 3, 1))?.contiguous()
    }

    #[test]
    fn attacks_that_miss_what_a_smaller_ball_holds_are_told() -> Result<()> {
        // Right at 0.5, wrong at 0.6, right again at 0.7.
        let wave = |image: &Tensor| {
            let turn = std::f64::consts::TAU / 0.2;
            against_zeros(&image.narrow(1, 0, 1)?.affine(turn, 0.3 - 0.5 * turn)?.cos()?)
        };
        let image = Tensor::full(0.5_f32, (1, 3, 8, 8), &Device::Cpu)?;
        let epsilons = vec![0.1, 0.2];
        let iterated = IteratedCurve { alpha: 0.001, steps: 3, epsilons: epsilons.clone() };
        let curves = [CurveConfig::Fgsm(FgsmCurve { epsilons }), CurveConfig::Bim(iterated)];
        let evaluation = evaluate(&wave, &image, None, &curves)?;
        assert!(kinds(&evaluation, "fgsm", 0.2).contains(&WarningKind::WeakerThanSmallerEpsilon));
        assert!(!kinds(&evaluation, "fgsm", 0.1).contains(&WarningKind::WeakerThanSmallerEpsilon));
        assert!(kinds(&evaluation, "bim", 0.1).contains(&WarningKind::WeakerThanCheaperAttack));
        assert!(!kinds(&evaluation, "bim", 0.2).contains(&WarningKind::WeakerThanCheaperAttack));
        Ok(())
    }

    #[test]
    fn a_loss_that_falls_is_told() -> Result<()> {
        // The cross-entropy has its top a little beside the image, and a step of 0.1 goes over it to the other side.
        let hill = |image: &Tensor| {
            against_zeros(&image.narrow(1, 0, 1)?.affine(1.0, -0.51)?.sqr()?.affine(100.0, 0.0)?)
        };
        let image = Tensor::full(0.5_f32, (1, 3, 8, 8), &Device::Cpu)?;
        let curve = CurveConfig::Fgsm(FgsmCurve { epsilons: vec![0.005, 0.1] });
        let evaluation = evaluate(&hill, &image, None, &[curve])?;
        assert!(!kinds(&evaluation, "fgsm", 0.005).contains(&WarningKind::LossDoesNotRise));
        assert!(kinds(&evaluation, "fgsm", 0.1).contains(&WarningKind::LossDoesNotRise));
        Ok(())
    }

    #[test]
    fn starts_that_decide_are_told() -> Result<()> {
        // The corner's value decides for all pixels, in waves that are much narrower than the ball.
        let waves = |image: &Tensor| {
            let corner = image.narrow(2, 0, 1)?.narrow(3, 0, 1)?.sum_keepdim(1)?;
            against_zeros(&corner.affine(900.0, 0.0)?.sin()?.broadcast_as((image.dim(0)?, 1, 8, 8))?)
        };
        let image = Tensor::full(0.5_f32, (4, 3, 8, 8), &Device::Cpu)?;
        let run = |restarts| {
            let curve = PgdCurve { alpha: 1e-5, steps: 1, restarts, epsilons: vec![0.0, 0.01] };
            evaluate(&waves, &image, None, &[CurveConfig::Pgd(curve)])
        };
        assert!(!kinds(&run(1)?, "pgd", 0.01).contains(&WarningKind::RandomStartDecisive));
        let evaluation = run(8)?;
        assert!(kinds(&evaluation, "pgd", 0.01).contains(&WarningKind::RandomStartDecisive));
        let point = &evaluation.curves[0].points[1];
        assert_eq!((point.candidates.len(), point.scores.pixel_accuracy), (8, 0.0));
        assert!(point.candidates.iter().any(|one| one.pixel_accuracy > 0.0));
        Ok(())
    }

    /// Reads red of which the gradient sees `share`.
    fn reads_red_with_a_cut(share: f64) -> impl Fn(&Tensor) -> candle_core::Result<Tensor> {
        move |image: &Tensor| reads_red(&((image * share)? + (image.detach() * (1.0 - share))?)?)
    }

    #[test]
    fn a_gradient_that_lacks_a_part_is_told_and_one_that_lacks_half_refused() -> Result<()> {
        let (image, label) = scene(0.3)?;
        let run = |share: f64, curves: &[CurveConfig]| {
            let (ids, image, label) = (vec!["a".into(), "b".into()], image.clone(), label.clone());
            let batches = [EvaluationBatch { ids, image, label }];
            evaluate_model(&reads_red_with_a_cut(share), 5, batches, curves, 0)
        };
        let curves = [CurveConfig::Fgsm(FgsmCurve { epsilons: vec![0.0, 0.01, 0.02] })];
        let whole = run(1.0, &curves)?.evaluation;
        assert!(whole.warnings.iter().all(|warning| warning.kind != WarningKind::InexactGradient));
        let most = run(0.92, &curves)?.evaluation;
        let told = &most.warnings[0];
        assert_eq!((told.kind, told.epsilon), (WarningKind::InexactGradient, 0.02));
        assert!(told.message.contains("9 % along itself"), "{}", told.message);
        // Comparing costs no attack anything.
        assert_eq!(most.curves[0].passes, whole.curves[0].passes);
        assert_eq!(most.curves[0].passes.expect("counted").forward, 1.0);
        let refused = run(0.5, &curves).unwrap_err();
        assert!(
            matches!(refused, Error::Attack(robustseg_attacks::Error::WrongGradient { .. })),
            "{refused}"
        );
        // Where nothing is attacked the gradient does not matter.
        assert!(run(0.5, &[]).is_ok());
        assert!(run(0.5, &[CurveConfig::Fgsm(FgsmCurve { epsilons: vec![0.0] })]).is_ok());
        Ok(())
    }

    #[test]
    fn no_curve_leaves_its_ball() -> Result<()> {
        let (image, label) = scene(0.3)?;
        let epsilons = vec![0.02, 0.1];
        let iterated = || IteratedCurve { alpha: 0.07, steps: 3, epsilons: epsilons.clone() };
        let started =
            || StartedCurve { alpha: 0.07, steps: 3, start: Start::Random, epsilons: epsilons.clone() };
        let pgd = PgdCurve { alpha: 0.07, steps: 3, restarts: 2, epsilons: epsilons.clone() };
        let mi_fgsm = MiFgsmCurve { alpha: 0.07, steps: 3, decay: 1.0, epsilons: epsilons.clone() };
        let curves = [
            CurveConfig::Fgsm(FgsmCurve { epsilons: epsilons.clone() }),
            CurveConfig::Bim(iterated()),
            CurveConfig::Pgd(pgd),
            CurveConfig::MiFgsm(mi_fgsm),
            CurveConfig::SegPgd(started()),
            CurveConfig::CosPgd(started()),
            CurveConfig::Apgd(ApgdCurve { steps: 3, epsilons: epsilons.clone() }),
            CurveConfig::Sea(SeaCurve { steps: 10, epsilons: epsilons.clone() }),
        ];
        let mut tally = Tally::new(5, &curves, 0);
        tally.add(&reads_red, &image, &label, &["a", "b"])?;
        for (curve, config) in curves.iter().enumerate() {
            for (point, &epsilon) in config.epsilons().iter().enumerate() {
                for sight in tally.seen(curve, point).into_iter().flatten() {
                    let largest = f64::from(sight.largest);
                    assert!(largest <= epsilon + 1e-6, "{}: {largest} of {epsilon}", config.name());
                }
            }
        }
        Ok(())
    }

    #[test]
    fn accuracy_is_of_all_pixels_and_also_a_mean_over_images() -> Result<()> {
        // The first image has three labelled pixels, all right; the second 300, a third of them right.
        let reads = |image: &Tensor| reads_red(image);
        let red: Vec<f32> = (0..600).map(|pixel| if pixel < 400 { 0.1 } else { 0.3 }).collect();
        let red = Tensor::from_vec(red, (2, 1, 10, 30), &Device::Cpu)?;
        let image = Tensor::cat(&[&red, &red.zeros_like()?, &red.zeros_like()?], 1)?;
        let label = (0..600).map(|pixel| if (3..300).contains(&pixel) { IGNORE_LABEL } else { 0 });
        let label = Tensor::from_vec(label.collect::<Vec<u8>>(), (2, 10, 30), &Device::Cpu)?;
        let clean = evaluate(&reads, &image, Some(&label), &[])?.clean;
        assert!((clean.pixel_accuracy - 103.0 / 303.0).abs() < 1e-12, "{clean:?}");
        let mean = clean.image_averaged_pixel_accuracy.expect("two labelled images");
        assert!((mean - 2.0 / 3.0).abs() < 1e-12, "{clean:?}");
        Ok(())
    }

    #[test]
    fn a_worst_case_is_over_candidates_and_curves_and_follows_from_the_records() -> Result<()> {
        let (image, label) = scene(0.3)?;
        let epsilons = vec![0.0, 0.1];
        let curves = [
            CurveConfig::Fgsm(FgsmCurve { epsilons: epsilons.clone() }),
            CurveConfig::Sea(SeaCurve { steps: 10, epsilons }),
        ];
        let mut tally = Tally::new(5, &curves, 1);
        // A last batch that is smaller.
        tally.add(&reads_red, &image, &label, &["a", "b"])?;
        tally.add(&reads_red, &image.narrow(0, 0, 1)?, &label.narrow(0, 1, 1)?, &["c"])?;
        let evaluation = tally.evaluation()?;
        let point = &evaluation.curves[1].points[1];
        let names: Vec<&str> = point.candidates.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, robustseg_attacks::Sea::OBJECTIVES);
        for one in &point.candidates {
            assert!(point.scores.miou <= one.miou && point.scores.pixel_accuracy <= one.pixel_accuracy);
        }
        let [worst] = &evaluation.worst_case[..] else { panic!("{:?}", evaluation.worst_case) };
        for curve in &evaluation.curves {
            assert!(worst.scores.miou <= curve.points[1].scores.miou + 1e-12);
            assert!(worst.scores.pixel_accuracy <= curve.points[1].scores.pixel_accuracy);
        }
        let [low, high] = point.scores.miou_interval.expect("an interval");
        assert!(low <= point.scores.miou && point.scores.miou <= high);
        let passes = evaluation.curves[1].passes.expect("they were counted");
        assert_eq!((passes.forward, passes.backward), (39.0, 30.0));

        let records = tally.records();
        assert_eq!(records.len(), 3 * (1 + 1 + 3));
        let of = |id: &str| -> Vec<Overlap> {
            let sea = records.iter().filter(|line| line.id == id && line.attack.as_deref() == Some("sea"));
            let overlap = |line: &ImageRecord| {
                ConfusionMatrix::from_pairs(5, &line.confusion).expect("classes").overlap()
            };
            sea.map(overlap).collect()
        };
        let images = ["a", "b", "c"].map(of);
        let chosen = robustseg_metrics::greedy_mean_iou(&images);
        let sum = Overlap::sum(5, images.iter().zip(chosen).map(|(candidates, index)| &candidates[index]));
        assert_eq!(sum.mean_iou(), Some(point.scores.miou));
        let Evaluated { examples, example_attack, .. } = tally.evaluated()?;
        assert_eq!((examples.len(), example_attack.expect("SEA's").epsilon), (1, 0.1));
        let landscape = &examples[0].landscape;
        let at = |times: f64| landscape.iter().find(|(place, _)| *place == times).expect("a place").1;
        let loss = |attack: Option<&str>| {
            let lines =
                records.iter().filter(|line| line.id == examples[0].id && line.attack.as_deref() == attack);
            lines.map(|line| line.loss).collect::<Vec<_>>()
        };
        assert_eq!(vec![at(0.0)], loss(None));
        assert!(loss(Some("sea")).iter().any(|loss| (loss - at(1.0)).abs() < 1e-5), "{landscape:?}");
        Ok(())
    }
}
