//! The gain that a Noisy Newton step brings to zero.

use candle_core::{Device, Tensor};
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
        if (gain, weights, contributions) == (StepGain::Plain, PixelWeights::Pixel, false) {
            let InputGradient { value, gradient } =
                input_gradient(model, start, label, PixelObjective::Gain)?;
            return Ok(Self { value, gradient, contributions: None });
        }
        let alignment = model.alignment();
        let of_logits = |logits: &Tensor| {
            let Moving { sum, images } = moving(logits, label, alignment, gain, weights)?;
            Ok((sum, images))
        };
        let (InputGradient { gradient, .. }, weighed) = gradient_of(model, start, of_logits)?;
        let values: Vec<f32> = weighed.iter().map(|image| image.value as f32).collect();
        let value = Tensor::new(values, start.device())?;
        let contributions = contributions.then(|| {
            let all: Vec<f32> = weighed.into_iter().flat_map(|image| image.contributions).collect();
            Tensor::from_vec(all, label.shape(), start.device())
        });
        Ok(Self { value, gradient, contributions: contributions.transpose()? })
    }
}

/// G of `logits` (N, h, w, K) with `label` (N, H, W), for each image (N), with its gradient by the
/// logits.
pub(super) fn gain_of(
    logits: &Tensor,
    label: &Tensor,
    alignment: Alignment,
    gain: StepGain,
    weights: PixelWeights,
) -> Result<Tensor> {
    if (gain, weights) == (StepGain::Plain, PixelWeights::Pixel) {
        return Ok(pixel_objective_per_image(logits, label, PixelObjective::Gain, alignment)?);
    }
    let Moving { sum, images } = moving(logits, label, alignment, gain, weights)?;
    // Pixels beyond the median add a constant to G.
    let rest = images.iter().zip(sum.detach().to_vec1::<f32>()?);
    let rest = rest.map(|(image, sum)| image.value as f32 - sum).collect::<Vec<_>>();
    Ok((&sum + Tensor::new(rest, sum.device())?)?)
}

/// The part of G that moves with the logits, and the pixels.
struct Moving {
    /// A sum over the moving pixels of each image (N). Its gradient is that of G.
    sum: Tensor,
    images: Vec<Weighed>,
}

fn moving(
    logits: &Tensor,
    label: &Tensor,
    alignment: Alignment,
    gain: StepGain,
    weights: PixelWeights,
) -> Result<Moving, AttackError> {
    let classes = logits.dim(3)?;
    let gains: Vec<Vec<f32>> = gain_map(logits, label, alignment)?.flatten_from(1)?.to_vec2()?;
    let labels: Vec<Vec<u8>> = label.to_device(&Device::Cpu)?.flatten_from(1)?.to_vec2()?;
    let pixels = gains.iter().zip(&labels).enumerate();
    let images = pixels.map(|(index, (gains, labels))| {
        let value = f32::NAN;
        let weighed = Weighed::of(gains, labels, classes, gain, weights);
        weighed.ok_or(AttackError::NotFinite { quantity: "objective", index, value })
    });
    let images = images.collect::<Result<Vec<_>, _>>()?;
    // The gain's mean over chosen pixels is an objective of its own, so G is a sum of such means:
    // one, or one for each class.
    let mut sum: Option<Tensor> = None;
    for term in terms(&images, classes, weights) {
        let labels = Tensor::from_vec(term.labels, label.shape(), label.device())?;
        let factors = Tensor::new(term.factors, label.device())?;
        let mean = pixel_objective_per_image(logits, &labels, PixelObjective::Gain, alignment)?;
        let term = (mean * factors)?;
        sum = Some(match sum {
            None => term,
            Some(sum) => (sum + term)?,
        });
    }
    Ok(Moving { sum: sum.expect("there is a term"), images })
}

/// The pixels of one image as G weighs them.
struct Weighed {
    /// G.
    value: f64,
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
        let mut value = 0.0;
        for (place, label, gain) in counting {
            if gain <= largest {
                moving[place] = label as u8;
            }
            let contribution = weights[label] * f64::from(gain.min(largest));
            contributions[place] = contribution as f32;
            value += contribution;
        }
        Some(Self { value, moving, weights, contributions })
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
