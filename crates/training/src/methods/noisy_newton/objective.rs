//! The gain that a Noisy Newton step brings to zero.

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{
    Case, Error as AttackError, IGNORE_LABEL, InputGradient, PixelObjective, gradient_of, input_gradient,
};
use robustseg_ops::{Alignment, gain_map, pixel_objective_per_image};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The gain G that a step of [`NoisyNewton`](super::NoisyNewton) brings to zero: a weighted mean of
/// a function of the pixels' gains g.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepGain {
    /// The mean of g over the labelled pixels (eq. 17 of Wiens & Hammer 2022). Wrong pixels cancel
    /// right ones.
    #[default]
    Plain,
    /// The mean of `min(g, m)` over the pixels that are right, where m is the median of their gains
    /// in the image, which the gradient holds constant. It is never negative. Pixels with a larger
    /// gain have no influence on the direction.
    Masked,
}

/// What a pixel counts in the gain of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PixelWeights {
    /// All pixels count the same.
    #[default]
    Pixel,
    /// All classes of an image count the same: a pixel counts one over the pixels of its class.
    Class,
}

/// The gain of a step, image by image.
pub(super) struct Objective {
    /// G (N).
    pub(super) value: Tensor,
    /// The gradient of each image's G with respect to that image (N, 3, H, W), f32.
    pub(super) gradient: Tensor,
    /// What each pixel contributes to G (N, H, W), if requested. The sum over an image is G.
    pub(super) contributions: Option<Tensor>,
    /// G as a function of the logits.
    pub(super) fixed: Fixed,
}

impl Objective {
    /// The gain of the images `start` with the labels of `case`.
    pub(super) fn at(
        case: &Case<'_>,
        start: &Tensor,
        gain: StepGain,
        weights: PixelWeights,
        contributions: bool,
    ) -> Result<Self> {
        let (model, label) = (case.model(), case.label());
        let alignment = model.alignment();
        if (gain, weights, contributions) == (StepGain::Plain, PixelWeights::Pixel, false) {
            let InputGradient { value, gradient } =
                input_gradient(model, start, label, PixelObjective::Gain)?;
            let fixed = Fixed::mean(label)?;
            return Ok(Self { value, gradient, contributions: None, fixed });
        }
        let of_logits = |logits: &Tensor| {
            let weighed = weigh(logits, label, alignment, gain, weights)?;
            let fixed = Fixed::of(&weighed, logits.dim(3)?, weights, label)?;
            Ok((fixed.at(logits, alignment)?, (fixed, weighed)))
        };
        let (InputGradient { gradient, .. }, (fixed, weighed)) = gradient_of(model, start, of_logits)?;
        let values: Vec<f32> = weighed.iter().map(|image| image.value as f32).collect();
        let value = Tensor::new(values, start.device())?;
        let contributions = contributions.then(|| {
            let all: Vec<f32> = weighed.into_iter().flat_map(|image| image.contributions).collect();
            Tensor::from_vec(all, label.shape(), start.device())
        });
        Ok(Self { value, gradient, contributions: contributions.transpose()?, fixed })
    }
}

/// G with the pixels, the weights and the median of one image, as a function of the logits: what
/// the gradient of G belongs to.
pub(super) struct Fixed {
    /// The mean gain over chosen pixels is an objective of its own, so G is a sum of such means: one,
    /// or one for each class. Each has the labels of its pixels (N, H, W) and a factor for each image
    /// (N).
    terms: Vec<(Tensor, Tensor)>,
    /// What the pixels above the median add (N).
    rest: Tensor,
}

impl Fixed {
    /// The mean gain over the labelled pixels.
    fn mean(label: &Tensor) -> Result<Self, AttackError> {
        let rest = Tensor::zeros(label.dim(0)?, DType::F32, label.device())?;
        Ok(Self { terms: vec![(label.clone(), rest.ones_like()?)], rest })
    }

    fn of(
        images: &[Weighed],
        classes: usize,
        weights: PixelWeights,
        label: &Tensor,
    ) -> Result<Self, AttackError> {
        let device = label.device();
        let term = |Term { labels, factors }| -> Result<_, AttackError> {
            Ok((Tensor::from_vec(labels, label.shape(), device)?, Tensor::new(factors, device)?))
        };
        let terms = terms(images, classes, weights).into_iter().map(term).collect::<Result<_, _>>()?;
        let rest: Vec<f32> = images.iter().map(|image| image.rest as f32).collect();
        Ok(Self { terms, rest: Tensor::new(rest, device)? })
    }

    /// G (N) of small `logits` (N, h, w, K), with its gradient.
    pub(super) fn at(&self, logits: &Tensor, alignment: Alignment) -> Result<Tensor, AttackError> {
        let mut sum = self.rest.clone();
        for (labels, factors) in &self.terms {
            let mean = pixel_objective_per_image(logits, labels, PixelObjective::Gain, alignment)?;
            sum = (sum + (mean * factors)?)?;
        }
        Ok(sum)
    }
}

/// The pixels of each image of `logits`.
fn weigh(
    logits: &Tensor,
    label: &Tensor,
    alignment: Alignment,
    gain: StepGain,
    weights: PixelWeights,
) -> Result<Vec<Weighed>, AttackError> {
    let classes = logits.dim(3)?;
    let gains: Vec<Vec<f32>> = gain_map(logits, label, alignment)?.flatten_from(1)?.to_vec2()?;
    let labels: Vec<Vec<u8>> = label.to_device(&Device::Cpu)?.flatten_from(1)?.to_vec2()?;
    let pixels = gains.iter().zip(&labels).enumerate();
    let images = pixels.map(|(index, (gains, labels))| {
        let value = f32::NAN;
        let weighed = Weighed::of(gains, labels, classes, gain, weights);
        weighed.ok_or(AttackError::NotFinite { quantity: "objective", index, value })
    });
    images.collect()
}

/// The pixels of one image as G weighs them.
struct Weighed {
    /// G.
    value: f64,
    /// The part of G of pixels that do not move it.
    rest: f64,
    /// The labels of the pixels whose gain moves G, others unlabelled.
    moving: Vec<u8>,
    /// By class, the weight of one such pixel, over the sum of all weights.
    weights: Vec<f64>,
    contributions: Vec<f32>,
}

impl Weighed {
    /// `None` if a gain is not finite.
    fn of(
        gains: &[f32],
        labels: &[u8],
        classes: usize,
        gain: StepGain,
        weights: PixelWeights,
    ) -> Option<Self> {
        let masked = gain == StepGain::Masked;
        let mut pixels = vec![0_u64; classes];
        let mut counting = Vec::with_capacity(gains.len());
        for (place, (&gain, &label)) in gains.iter().zip(labels).enumerate() {
            if label == IGNORE_LABEL {
                continue;
            }
            if !gain.is_finite() {
                return None;
            }
            pixels[usize::from(label)] += 1;
            if !masked || gain > 0.0 {
                counting.push((place, usize::from(label), gain));
            }
        }
        let mut weights: Vec<f64> = match weights {
            PixelWeights::Pixel => vec![1.0; classes],
            PixelWeights::Class => pixels.iter().map(|&pixels| 1.0 / pixels.max(1) as f64).collect(),
        };
        let total: f64 = counting.iter().map(|&(_, label, _)| weights[label]).sum();
        let total = if counting.is_empty() { 1.0 } else { total };
        for weight in &mut weights {
            *weight /= total;
        }
        let largest = if masked { median(counting.iter().map(|pixel| pixel.2).collect()) } else { f32::MAX };
        let (mut moving, mut contributions) = (vec![IGNORE_LABEL; gains.len()], vec![0.0; gains.len()]);
        let (mut value, mut rest) = (0.0, 0.0);
        for (place, label, gain) in counting {
            let contribution = weights[label] * f64::from(gain.min(largest));
            if gain <= largest {
                moving[place] = label as u8;
            } else {
                rest += contribution;
            }
            contributions[place] = contribution as f32;
            value += contribution;
        }
        Some(Self { value, rest, moving, weights, contributions })
    }

    /// The labels of the moving pixels of `class`, or of all classes, and their number.
    fn moving(&self, class: Option<u8>) -> (Vec<u8>, u64) {
        let belongs = |label: u8| label != IGNORE_LABEL && class.is_none_or(|class| class == label);
        let kept = |&label: &u8| if belongs(label) { label } else { IGNORE_LABEL };
        let labels: Vec<u8> = self.moving.iter().map(kept).collect();
        let count = labels.iter().filter(|&&label| label != IGNORE_LABEL).count();
        (labels, count as u64)
    }
}

/// A part of G's gradient: `factor` times the mean gain over the pixels labelled in `labels`, for
/// each image.
struct Term {
    labels: Vec<u8>,
    factors: Vec<f32>,
}

/// One term for all classes where pixels count the same, else one for each class that moves G.
fn terms(images: &[Weighed], classes: usize, weights: PixelWeights) -> Vec<Term> {
    let term = |class: Option<u8>| {
        let (mut labels, mut factors) = (Vec::new(), Vec::new());
        for image in images {
            let (kept, count) = image.moving(class);
            labels.extend(kept);
            factors.push((image.weights[usize::from(class.unwrap_or(0))] * count as f64) as f32);
        }
        Term { labels, factors }
    };
    if weights == PixelWeights::Pixel {
        return vec![term(None)];
    }
    let moves = |class: &u8| images.iter().any(|image| image.moving.contains(class));
    let mut present: Vec<u8> = (0..classes).map(|class| class as u8).filter(moves).collect();
    if present.is_empty() {
        present.push(0);
    }
    present.into_iter().map(|class| term(Some(class))).collect()
}

/// The lower median. 0 of nothing.
fn median(mut values: Vec<f32>) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = (values.len() - 1) / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}
