//! Upsampling, objective and gradient of one labelled pixel after the other. Full-size logits are
//! never stored.

use super::interpolation::{add_scaled, mix};
use super::objectives::{evaluate, scaled};
use crate::error::Error;
use crate::operation::{CpuInputs, OnCpu};
use crate::pixel_objective::{IGNORE_LABEL, Mean, Objective, PixelObjective, ScaleImages};
use crate::resize::Resize;
use candle_core::{CpuStorage, Device, Result, Tensor};
use rayon::prelude::*;

impl OnCpu<2> for Objective {
    fn compute(&self, [logits, label]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (logits_shape, label) = (logits.layout.shape(), label.slice()?);
        let images = image_sums(self, logits.slice()?, label, &weights(self, label))?;
        let all: u64 = images.iter().map(|image| image.labelled).sum();
        let count = |labelled: u64| match self.mean {
            Mean::EachImage => labelled.max(1) as f64,
            Mean::WholeBatch => all.max(1) as f64,
        };
        if self.with_gradient {
            let mut gradient = Vec::with_capacity(logits_shape.elem_count());
            for image in &images {
                let share = (1.0 / count(image.labelled)) as f32;
                gradient.extend(image.gradient.iter().map(|value| value * share));
            }
            self.gradient.set(Tensor::from_vec(gradient, logits_shape, &Device::Cpu)?).ok();
        }
        let values = images.iter().map(|image| (image.sum / count(image.labelled)) as f32);
        Ok(CpuStorage::F32(values.collect()))
    }
}

impl OnCpu<2> for ScaleImages {
    fn compute(&self, [x, scale]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (x, scale) = (x.slice::<f32>()?, scale.slice::<f32>()?);
        let images = x.chunks_exact(x.len() / scale.len()).zip(scale);
        let scaled = images.flat_map(|(image, scale)| image.iter().map(move |value| value * scale));
        Ok(CpuStorage::F32(scaled.collect()))
    }
}

/// Rows of the label map that one thread takes at a time.
const BAND: usize = 16;

/// One image's sum of the objective, its number of labelled pixels, and the gradient of the sum by
/// the small logits (h, w, K), which is empty unless it was requested.
struct ImageSum {
    sum: f64,
    labelled: u64,
    gradient: Vec<f32>,
}

/// The weights of pixels by image and class; empty if all pixels weigh 1.
fn weights(objective: &Objective, label: &[u8]) -> Vec<Vec<f32>> {
    let Objective { resize: r, pixel, class_pixels, .. } = objective;
    if *pixel != PixelObjective::BalancedMaskedCrossEntropy {
        return Vec::new();
    }
    let images = label.chunks_exact(r.target[0] * r.target[1]);
    images
        .map(|label| match class_pixels {
            Some(counts) => balance(counts),
            None => balance(&class_pixels_of(label, r.channels)),
        })
        .collect()
}

/// For each image of `logits` (N, h, w, K) and `label` (N, H, W), with the weights of [`weights`].
fn image_sums(
    objective: &Objective,
    logits: &[f32],
    label: &[u8],
    weights: &[Vec<f32>],
) -> std::result::Result<Vec<ImageSum>, Error> {
    let Objective { resize: r, pixel: objective, with_gradient, .. } = objective;
    let with_gradient = *with_gradient;
    let small = r.source[0] * r.source[1] * r.channels;
    let full = r.target[0] * r.target[1];
    let bands = r.target[0].div_ceil(BAND);
    let parts: Vec<std::result::Result<Band, Error>> = (0..label.len() / full * bands)
        .into_par_iter()
        .map(|index| {
            let (image, band) = (index / bands, index % bands);
            let rows = band * BAND..((band + 1) * BAND).min(r.target[0]);
            let logits = &logits[image * small..(image + 1) * small];
            let label = &label[image * full..(image + 1) * full];
            let weights = weights.get(image).map(|weights| &weights[..]);
            band_sum(r, logits, label, rows, (*objective, weights), with_gradient).map_err(
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

/// The pixels of each class in `label`, one image's.
fn class_pixels_of(label: &[u8], classes: usize) -> Vec<u64> {
    let mut counts = vec![0_u64; classes];
    for &label in label {
        if let Some(count) = counts.get_mut(usize::from(label)).filter(|_| label != IGNORE_LABEL) {
            *count += 1;
        }
    }
    counts
}

/// The weight of a pixel of each class. All classes that are present weigh the same together, and
/// pixels weigh 1 on average.
fn balance(counts: &[u64]) -> Vec<f32> {
    let labelled: u64 = counts.iter().sum();
    let present = counts.iter().filter(|count| **count > 0).count() as u64;
    let weight = |&count: &u64| if count == 0 { 0.0 } else { labelled as f64 / (present * count) as f64 };
    counts.iter().map(|count| weight(count) as f32).collect()
}

/// The band's sum, or row, column and value of a label that is not a class. `weights` by class
/// multiply the objective.
fn band_sum(
    r: &Resize,
    logits: &[f32],
    label: &[u8],
    band: std::ops::Range<usize>,
    (objective, weights): (PixelObjective, Option<&[f32]>),
    with_gradient: bool,
) -> std::result::Result<Band, (usize, usize, u8)> {
    let classes = r.channels;
    let row_size = r.source[1] * classes;
    let [rows, columns] = r.positions();
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
