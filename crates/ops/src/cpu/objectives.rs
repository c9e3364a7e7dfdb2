//! Objectives at one pixel, with their gradients.

use super::elementary::exp;
use super::lanes::{LANES, folded, largest};
use crate::pixel_objective::PixelObjective;
use pulp::{Arch, NullaryFnOnce};

/// The logits of a pixel, one for each class, and lowest numbers after them that fill up the last
/// vector. They have no influence.
#[derive(Clone, Copy)]
pub(super) struct Logits<'a> {
    pub(super) padded: &'a [f32],
    pub(super) classes: usize,
}

impl Logits<'_> {
    fn of_classes(&self) -> &[f32] {
        &self.padded[..self.classes]
    }
}

/// The objective at one pixel. Its gradient by the logits goes to `slope`, which is as long as the padded
/// logits.
pub(super) fn evaluate(
    objective: PixelObjective,
    logits: Logits<'_>,
    label: usize,
    slope: &mut [f32],
) -> f32 {
    match objective {
        PixelObjective::Gain => gain(logits, label, slope),
        PixelObjective::CrossEntropy => cross_entropy(logits, label, slope),
        PixelObjective::SegPgd { lambda } => {
            let weight = if argmax(logits.of_classes()) == label { 1.0 - lambda } else { lambda };
            scaled(weight, cross_entropy(logits, label, slope), slope)
        }
        PixelObjective::CosPgd => {
            let value = cross_entropy(logits, label, slope);
            // The slope is softmax - one-hot, which gives the softmax.
            let own = slope[label] + 1.0;
            let others = slope.iter().map(|s| s * s).sum::<f32>() - slope[label] * slope[label];
            scaled(own / (others + own * own).sqrt(), value, slope)
        }
        PixelObjective::MaskedCrossEntropy | PixelObjective::BalancedMaskedCrossEntropy => {
            if argmax(logits.of_classes()) == label {
                return cross_entropy(logits, label, slope);
            }
            slope.fill(0.0);
            0.0
        }
        PixelObjective::Tsallis { q } => {
            let (value, order) = (cross_entropy(logits, label, slope), 1.0 - q);
            scaled((-order * value).exp(), 0.0, slope);
            if order == 0.0 { value } else { -(-order * value).exp_m1() / order }
        }
        PixelObjective::JensenShannon => {
            // With p the label's softmax: ln 2 + (p ln p - (1 + p) ln(1 + p)) / 2. Its derivative
            // by p times p's by the logits is the cross-entropy's slope times p ln((1 + p) / p) /
            // 2.
            let cross_entropy = cross_entropy(logits, label, slope);
            let own = (-cross_entropy).exp();
            scaled(0.5 * own * (own.ln_1p() + cross_entropy), 0.0, slope);
            std::f32::consts::LN_2 - 0.5 * (own * cross_entropy + (1.0 + own) * own.ln_1p())
        }
    }
}

/// `value` and `slope`, both times `weight`.
pub(super) fn scaled(weight: f32, value: f32, slope: &mut [f32]) -> f32 {
    for slope in slope {
        *slope *= weight;
    }
    weight * value
}

/// Equation 14: the label's logit minus the largest other logit.
fn gain(logits: Logits<'_>, label: usize, slope: &mut [f32]) -> f32 {
    let logits = logits.of_classes();
    slope.fill(0.0);
    slope[label] = 1.0;
    let others = logits.iter().enumerate().filter(|(class, _)| *class != label);
    let best = others.fold(None, |best: Option<(usize, f32)>, (class, &logit)| match best {
        Some((_, largest)) if largest >= logit => best,
        _ => Some((class, logit)),
    });
    match best {
        Some((class, logit)) => {
            slope[class] = -1.0;
            logits[label] - logit
        }
        None => logits[label],
    }
}

/// Minus the logarithm of the label's softmax.
fn cross_entropy(logits: Logits<'_>, label: usize, slope: &mut [f32]) -> f32 {
    let all = softmax(logits, slope);
    slope[label] -= 1.0;
    all - logits.padded[label]
}

/// The softmax goes to `probabilities`. The result is the logarithm of the sum of the logits' powers.
pub(super) fn softmax(logits: Logits<'_>, probabilities: &mut [f32]) -> f32 {
    let (logits, rest) = logits.padded.as_chunks();
    let (probabilities, _) = probabilities.as_chunks_mut();
    debug_assert!(rest.is_empty(), "logits have to fill vectors");
    Arch::new().dispatch(Softmax { logits, probabilities })
}

struct Softmax<'a> {
    logits: &'a [[f32; LANES]],
    probabilities: &'a mut [[f32; LANES]],
}

impl NullaryFnOnce for Softmax<'_> {
    type Output = f32;

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) -> f32 {
        let largest = largest(self.logits.as_flattened());
        let mut sums = [0.0; LANES];
        for (powers, logits) in self.probabilities.iter_mut().zip(self.logits) {
            for lane in 0..LANES {
                powers[lane] = exp(logits[lane] - largest);
                sums[lane] += powers[lane];
            }
        }
        let sum = folded(sums, |a, b| a + b);
        for powers in self.probabilities {
            for power in powers {
                *power /= sum;
            }
        }
        sum.ln() + largest
    }
}

/// The first largest logit.
pub(super) fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}
