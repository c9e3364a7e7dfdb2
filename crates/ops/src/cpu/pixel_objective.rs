//! Upsampling, objective and gradient in one pass over the labelled pixels; full-size logits are never stored.

use super::interpolation::{Resize, add_scaled, mix, positions};
use crate::error::Error;
use crate::{IGNORE_LABEL, PixelObjective};
use rayon::prelude::*;

/// Rows of the label map that one thread takes at a time.
const BAND: usize = 16;

/// One image's sum of the objective, number of labelled pixels, and gradient of the sum by the small logits
/// (h, w, K), empty where it was not asked for.
pub(crate) struct ImageSum {
    pub(crate) sum: f64,
    pub(crate) labelled: u64,
    pub(crate) gradient: Vec<f32>,
}

/// For each image of `logits` (N, h, w, K) and `label` (N, H, W).
pub(crate) fn image_sums(
    r: &Resize,
    logits: &[f32],
    label: &[u8],
    objective: PixelObjective,
    with_gradient: bool,
) -> Result<Vec<ImageSum>, Error> {
    let small = r.source[0] * r.source[1] * r.channels;
    let full = r.target[0] * r.target[1];
    let bands = r.target[0].div_ceil(BAND);
    let weights: Option<Vec<Vec<f32>>> = (objective == PixelObjective::BalancedMaskedCrossEntropy)
        .then(|| label.chunks_exact(full).map(|label| balance(label, r.channels)).collect());
    let parts: Vec<Result<Band, Error>> = (0..label.len() / full * bands)
        .into_par_iter()
        .map(|index| {
            let (image, band) = (index / bands, index % bands);
            let rows = band * BAND..((band + 1) * BAND).min(r.target[0]);
            let logits = &logits[image * small..(image + 1) * small];
            let label = &label[image * full..(image + 1) * full];
            let weights = weights.as_ref().map(|weights| &weights[image][..]);
            band_sum(r, logits, label, rows, (objective, weights), with_gradient).map_err(
                |(row, column, label)| {
                    let classes = r.channels;
                    Error::Label { operation: "pixel_objective", label, image, row, column, classes }
                },
            )
        })
        .collect();
    let mut sums = Vec::with_capacity(label.len() / full);
    for (index, part) in parts.into_iter().enumerate() {
        let part = part?;
        if index % bands == 0 {
            let gradient = if with_gradient { vec![0.0; small] } else { Vec::new() };
            sums.push(ImageSum { sum: 0.0, labelled: 0, gradient });
        }
        let image = sums.last_mut().expect("pushed at the image's first band");
        image.sum += part.sum;
        image.labelled += part.labelled;
        let start = part.first_row * r.source[1] * r.channels;
        if with_gradient {
            add_scaled(&mut image.gradient[start..start + part.gradient.len()], &part.gradient, 1.0);
        }
    }
    Ok(sums)
}

struct Band {
    sum: f64,
    labelled: u64,
    /// First row of the small map that `gradient` covers.
    first_row: usize,
    gradient: Vec<f32>,
}

/// What a pixel of each class weighs in `label`, one image's: all classes that are present the same together, and all
/// pixels 1 on average.
fn balance(label: &[u8], classes: usize) -> Vec<f32> {
    let mut counts = vec![0_u64; classes];
    for &label in label {
        if let Some(count) = counts.get_mut(usize::from(label)).filter(|_| label != IGNORE_LABEL) {
            *count += 1;
        }
    }
    let labelled: u64 = counts.iter().sum();
    let present = counts.iter().filter(|count| **count > 0).count() as u64;
    let weight = |count: u64| if count == 0 { 0.0 } else { labelled as f64 / (present * count) as f64 };
    counts.into_iter().map(|count| weight(count) as f32).collect()
}

/// The band's sum, or row, column and value of a label that is no class. `weights` by class multiply the objective.
fn band_sum(
    r: &Resize,
    logits: &[f32],
    label: &[u8],
    band: std::ops::Range<usize>,
    (objective, weights): (PixelObjective, Option<&[f32]>),
    with_gradient: bool,
) -> Result<Band, (usize, usize, u8)> {
    let classes = r.channels;
    let row_size = r.source[1] * classes;
    let rows = positions(r.source[0], r.target[0], r.alignment);
    let columns = positions(r.source[1], r.target[1], r.alignment);
    let (first_row, last_row) = (rows[band.start].first, rows[band.end - 1].second);
    let mut gradient = vec![0.0; if with_gradient { (last_row + 1 - first_row) * row_size } else { 0 }];
    let mut line = vec![0.0; row_size];
    let mut line_gradient = vec![0.0; row_size];
    let (mut pixel, mut slope) = (vec![0.0; classes], vec![0.0; classes]);
    let (mut sum, mut labelled) = (0.0_f64, 0);
    for y in band {
        let at = rows[y];
        let source = |row: usize| &logits[row * row_size..][..row_size];
        mix(&mut line, source(at.first), source(at.second), at.weight);
        line_gradient.fill(0.0);
        for (x, (&label, column)) in label[y * r.target[1]..].iter().zip(&columns).enumerate() {
            if label == IGNORE_LABEL {
                continue;
            }
            if usize::from(label) >= classes {
                return Err((y, x, label));
            }
            let (first, second) = (column.first * classes, column.second * classes);
            mix(&mut pixel, &line[first..first + classes], &line[second..second + classes], column.weight);
            let label = usize::from(label);
            let value = evaluate(objective, &pixel, label, &mut slope);
            let value = weights.map_or(value, |weights| scaled(weights[label], value, &mut slope));
            sum += f64::from(value);
            labelled += 1;
            if with_gradient {
                let first = &mut line_gradient[first..first + classes];
                add_scaled(first, &slope, 1.0 - column.weight);
                let second = &mut line_gradient[second..second + classes];
                add_scaled(second, &slope, column.weight);
            }
        }
        if with_gradient {
            let mut add = |row: usize, weight| {
                let start = (row - first_row) * row_size;
                add_scaled(&mut gradient[start..start + row_size], &line_gradient, weight);
            };
            add(at.first, 1.0 - at.weight);
            add(at.second, at.weight);
        }
    }
    Ok(Band { sum, labelled, first_row, gradient })
}

/// The objective at one pixel; its gradient by the logits goes to `slope`.
fn evaluate(objective: PixelObjective, logits: &[f32], label: usize, slope: &mut [f32]) -> f32 {
    match objective {
        PixelObjective::Gain => gain(logits, label, slope),
        PixelObjective::CrossEntropy => cross_entropy(logits, label, slope),
        PixelObjective::SegPgd { lambda } => {
            let weight = if argmax(logits) == label { 1.0 - lambda } else { lambda };
            scaled(weight, cross_entropy(logits, label, slope), slope)
        }
        PixelObjective::CosPgd => {
            let value = cross_entropy(logits, label, slope);
            // The slope is softmax - one-hot, so the softmax is at hand.
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
        PixelObjective::JensenShannon => {
            // With p the label's softmax: ln 2 + (p ln p - (1 + p) ln(1 + p)) / 2. Its derivative by p times p's by the
            // logits is the cross-entropy's slope times p ln((1 + p) / p) / 2.
            let cross_entropy = cross_entropy(logits, label, slope);
            let own = (-cross_entropy).exp();
            scaled(0.5 * own * (own.ln_1p() + cross_entropy), 0.0, slope);
            std::f32::consts::LN_2 - 0.5 * (own * cross_entropy + (1.0 + own) * own.ln_1p())
        }
    }
}

fn scaled(weight: f32, value: f32, slope: &mut [f32]) -> f32 {
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
fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}

/// The class of the largest upsampled logit of every pixel, (N, H, W); the first of equals.
pub(crate) fn predict(r: &Resize, logits: &[f32]) -> Vec<u8> {
    let classes = r.channels;
    let row_size = r.source[1] * classes;
    let rows = positions(r.source[0], r.target[0], r.alignment);
    let columns = positions(r.source[1], r.target[1], r.alignment);
    let images = logits.len() / (r.source[0] * row_size);
    let mut out = vec![0; images * r.target[0] * r.target[1]];
    out.par_chunks_mut(r.target[1]).enumerate().for_each_init(
        || (vec![0.0; row_size], vec![0.0; classes]),
        |(line, pixel), (index, out)| {
            let start = index / r.target[0] * r.source[0];
            let at = rows[index % r.target[0]];
            let source = |row: usize| &logits[(start + row) * row_size..][..row_size];
            mix(line, source(at.first), source(at.second), at.weight);
            for (out, at) in out.iter_mut().zip(&columns) {
                let value = |column: usize| &line[column * classes..][..classes];
                mix(pixel, value(at.first), value(at.second), at.weight);
                *out = argmax(pixel) as u8;
            }
        },
    );
    out
}
