//! A reading: how a network behaves around a few images.

use candle_core::Tensor;
use robustseg_attacks::{
    Attack, Bim, Case, FastNewton, IGNORE_LABEL, InputGradient, Model, PixelObjective, input_gradient,
};
use robustseg_metrics::ConfusionMatrix;
use robustseg_ops::{pixel_objective_per_image, predict, sign_step};
use robustseg_random::Rng;
use serde::{Deserialize, Deserializer, Serialize};

use super::MonitorConfig;
use crate::Result;
use crate::methods::noisy;

/// The measurements of the monitor, all on the same few images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The mean IoU of guessing each class as often as it occurs on these images. 0 if it was not
    /// recorded.
    #[serde(default)]
    pub chance: f64,
    /// Without an attack.
    pub clean: Mark,
    /// Under FGSM.
    pub fgsm: Mark,
    /// Under BIM.
    pub bim: Mark,
    /// Mean cross-entropy along FGSM's step: at the image, after equal parts of the step, and at
    /// its end. It rises if the network is close to linear. A maximum before the end is a distorted
    /// decision boundary (Kim et al. 2021).
    #[serde(deserialize_with = "null_is_not_finite")]
    pub loss_along: Vec<f64>,
    /// Mean cosine between the gradients at an image and at a random neighbour (Andriushchenko &
    /// Flammarion 2020), over images where neither is zero. It is near 0 in catastrophic
    /// overfitting.
    pub cosine: Option<f64>,
    /// Fast Newton's epsilon for each image (eq. 18 as written), in rising order.
    #[serde(deserialize_with = "null_is_not_finite")]
    pub newton_epsilon: Vec<f64>,
    /// Mean share of the loss's slope at the image that is left at the end of FGSM's step (SORA's
    /// `PertAlign`). The slope at the end is that of the last part of the step, from
    /// [`loss_along`](Self::loss_along), so the linearity takes no further pass. It is 1 where the
    /// loss is linear, and its fall announces catastrophic overfitting. Images with a slope of 0 do
    /// not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linearity: Option<f64>,
    /// The running linearity along training's own perturbations, if the method measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_linearity: Option<f64>,
}

/// Numbers of a list. JSON has no number that is not finite and writes `null` for one.
fn null_is_not_finite<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<f64>, D::Error> {
    let numbers = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect())
}

/// Two scores from one confusion matrix over all images, in `[0, 1]`. They are 0 if nothing is
/// labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Mean IoU of classes that occur.
    pub miou: f64,
    /// Share of the labelled pixels that are right.
    pub pixel_accuracy: f64,
}

impl Reading {
    /// Takes a reading of `model` on `images` (N, 3, H, W), f32 in `[0, 1]`, with `labels` (N, H,
    /// W), u8, of `classes` classes.
    pub(crate) fn take(
        config: &MonitorConfig,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        classes: usize,
        random: &mut dyn Rng,
    ) -> Result<Self> {
        let MonitorConfig { epsilon, alpha, steps, points, .. } = *config;
        let score = |logits: &Tensor| mark(model, logits, labels, classes);
        let count = images.dim(0)?;
        let objective = PixelObjective::CrossEntropy;
        let InputGradient { value, gradient } = input_gradient(model, images, labels, objective)?;
        let step = Tensor::full(epsilon as f32, count, images.device())?;
        let attacked = sign_step(images, &gradient, &step)?;

        let slopes: Vec<f32> = (&gradient * (&attacked - images)?)?.flatten_from(1)?.sum(1)?.to_vec1()?;

        let mut losses: Vec<Vec<f32>> = vec![value.to_vec1()?];
        let mut fgsm = Mark::default();
        for part in 1..=points {
            let share = part as f64 / points as f64;
            let logits = model.logits(&((images * (1.0 - share))? + (&attacked * share)?)?)?;
            let here = pixel_objective_per_image(&logits, labels, objective, model.alignment())?;
            losses.push(here.to_vec1()?);
            if part == points {
                fgsm = score(&logits)?;
            }
        }
        let case = Case::new(model, images, labels)?;
        let bim = Bim { alpha, steps }.perturb(&case, epsilon, random)?.image;
        let neighbour = noisy(images, epsilon, random)?;
        let beside = input_gradient(model, &neighbour, labels, objective)?.gradient;
        let newton = FastNewton::default().perturb(&case, f64::INFINITY, random)?.epsilon;
        let mut newton_epsilon: Vec<f64> = newton.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        newton_epsilon.sort_by(f64::total_cmp);
        Ok(Self {
            chance: chance(labels, classes)?,
            clean: score(&model.logits(images)?)?,
            fgsm,
            bim: score(&model.logits(&bim)?)?,
            linearity: linearity(&losses, &slopes),
            loss_along: losses.iter().map(|losses| mean(losses)).collect(),
            cosine: mean_cosine(&gradient, &beside)?,
            newton_epsilon,
            training_linearity: None,
        })
    }
}

fn mark(model: &dyn Model, logits: &Tensor, labels: &Tensor, classes: usize) -> Result<Mark> {
    let (_, height, width) = labels.dims3()?;
    let prediction = predict(logits, height, width, model.alignment())?;
    let mut matrix = ConfusionMatrix::new(classes);
    let [prediction, labels] = [&prediction, labels].map(|map| map.flatten_all()?.to_vec1::<u8>());
    matrix.update(&prediction?, &labels?)?;
    Ok(Mark {
        miou: matrix.mean_iou().unwrap_or(0.0),
        pixel_accuracy: matrix.pixel_accuracy().unwrap_or(0.0),
    })
}

/// The mean IoU of guessing. Let p be a class's share of the labelled pixels and of the guesses.
/// Then p * p of the pixels are right by chance, and the union is 2p - p * p.
pub(crate) fn chance(labels: &Tensor, classes: usize) -> Result<f64> {
    let labels: Vec<u8> = labels.flatten_all()?.to_vec1()?;
    let mut counts = vec![0_u64; classes];
    for &label in labels.iter().filter(|&&label| label != IGNORE_LABEL) {
        counts[usize::from(label)] += 1;
    }
    let all = counts.iter().sum::<u64>() as f64;
    let occurring: Vec<f64> =
        counts.into_iter().filter(|count| *count > 0).map(|count| count as f64 / all).collect();
    let sum: f64 = occurring.iter().map(|share| share / (2.0 - share)).sum();
    Ok(sum / occurring.len().max(1) as f64)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
}

/// The mean share of `slopes`, the rise of each image's loss over the whole step if it is linear,
/// that is left in its last part. `losses` are those of each image between equal parts.
fn linearity(losses: &[Vec<f32>], slopes: &[f32]) -> Option<f64> {
    let [.., before, after] = losses else { return None };
    let parts = (losses.len() - 1) as f64;
    let share = |((before, after), slope): ((&f32, &f32), &f32)| {
        (*slope != 0.0).then(|| (f64::from(*after) - f64::from(*before)) * parts / f64::from(*slope))
    };
    let shares: Vec<f64> = before.iter().zip(after).zip(slopes).filter_map(share).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

/// The mean cosine between two gradients (N, ...), over images where neither is zero.
fn mean_cosine(a: &Tensor, b: &Tensor) -> Result<Option<f64>> {
    let product =
        |a: &Tensor, b: &Tensor| -> Result<Vec<f32>> { Ok((a * b)?.flatten_from(1)?.sum(1)?.to_vec1()?) };
    let (both, a, b) = (product(a, b)?, product(a, a)?, product(b, b)?);
    let cosine = |((both, a), b): ((&f32, &f32), &f32)| {
        let norms = (f64::from(*a) * f64::from(*b)).sqrt();
        (norms > 0.0).then(|| f64::from(*both) / norms)
    };
    let cosines: Vec<f64> = both.iter().zip(&a).zip(&b).filter_map(cosine).collect();
    Ok((!cosines.is_empty()).then(|| cosines.iter().sum::<f64>() / cosines.len() as f64))
}
