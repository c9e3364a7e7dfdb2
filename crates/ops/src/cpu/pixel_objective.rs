//! Objectives over the labelled pixels of upsampled logits.

use super::labelled::{Labelled, Swept};
use super::objectives::{evaluate, scaled};
use crate::operation::{CpuInputs, OnCpu, Operation};
use crate::pixel_objective::{IGNORE_LABEL, Mean, Objective, PixelObjective};
use candle_core::{CpuStorage, Device, Result, Tensor};

impl OnCpu<2> for Objective {
    fn compute(&self, [logits, label]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (logits_shape, label) = (logits.layout.shape(), label.slice()?);
        let weights = weights(self, label);
        let (operation, resize) = (Self::NAME, &self.resize);
        let pixels = Labelled { operation, resize, logits: logits.slice()?, label };
        let start =
            |image: usize, _| Sum { value: 0.0, labelled: 0, weights: weights.get(image).map(|w| &w[..]) };
        let images =
            pixels.sweep(self.with_gradient, start, |band: &mut Sum<'_>, label, logits, slope| {
                let value = evaluate(self.pixel, logits, label, slope);
                let value = band.weights.map_or(value, |weights| scaled(weights[label], value, slope));
                band.value += f64::from(value);
                band.labelled += 1;
            })?;
        let all: u64 = images.iter().map(labelled).sum();
        let count = |labelled: u64| match self.mean {
            Mean::EachImage => labelled.max(1) as f64,
            Mean::WholeBatch => all.max(1) as f64,
        };
        if self.with_gradient {
            let mut gradient = Vec::with_capacity(logits_shape.elem_count());
            for image in &images {
                let share = (1.0 / count(labelled(image))) as f32;
                gradient.extend(image.gradient.iter().map(|value| value * share));
            }
            self.gradient.set(Tensor::from_vec(gradient, logits_shape, &Device::Cpu)?).ok();
        }
        let values = images.iter().map(|image| {
            let sum = image.bands.iter().fold(0.0, |sum, band| sum + band.value);
            (sum / count(labelled(image))) as f32
        });
        Ok(CpuStorage::F32(values.collect()))
    }
}

/// The sum of the objective over a band, its labelled pixels, and the weights of classes there.
struct Sum<'a> {
    value: f64,
    labelled: u64,
    weights: Option<&'a [f32]>,
}

/// The labelled pixels of an image.
fn labelled(image: &Swept<Sum<'_>>) -> u64 {
    image.bands.iter().map(|band| band.labelled).sum()
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
