//! Objectives at one pixel, with their gradients.

use crate::pixel_objective::PixelObjective;

/// The objective at one pixel. Its gradient by the logits goes to `slope`.
pub(super) fn evaluate(objective: PixelObjective, logits: &[f32], label: usize, slope: &mut [f32]) -> f32 {
    match objective {
        PixelObjective::Gain => gain(logits, label, slope),
        PixelObjective::CrossEntropy => cross_entropy(logits, label, slope),
        PixelObjective::SegPgd { lambda } => {
            let weight = if argmax(logits) == label { 1.0 - lambda } else { lambda };
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
            if argmax(logits) == label {
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
fn gain(logits: &[f32], label: usize, slope: &mut [f32]) -> f32 {
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
fn cross_entropy(logits: &[f32], label: usize, slope: &mut [f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (slope, logit) in slope.iter_mut().zip(logits) {
        *slope = (logit - largest).exp();
        sum += *slope;
    }
    for slope in slope.iter_mut() {
        *slope /= sum;
    }
    slope[label] -= 1.0;
    sum.ln() + largest - logits[label]
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
