//! Weighted cross-entropy, over all or over the hardest pixels.

use super::super::labelled::Labelled;
use super::super::objectives::{evaluate, scaled};
use super::{Found, LossOnCpu};
use crate::error::Error;
use crate::losses::{CrossEntropy, Hardest};
use crate::pixel_objective::PixelObjective;

impl LossOnCpu for CrossEntropy {
    fn find(&self, pixels: &Labelled<'_>, with_gradient: bool) -> Result<Found, Error> {
        let bar = self.hardest.map(|hardest| bar(pixels, hardest)).transpose()?.unwrap_or(f32::NEG_INFINITY);
        let weight = |class: usize| self.weights.as_ref().map_or(1.0, |weights| weights[class]);
        // Sums of weighted losses and of weights.
        let start = |_, _| (0.0_f64, 0.0_f64);
        let images = pixels.sweep(with_gradient, start, |(sum, total), class, logits, slope| {
            let value = evaluate(PixelObjective::CrossEntropy, logits, class, slope);
            // A value that is not a number is kept, so that it shows.
            let weight = if value < bar { 0.0 } else { weight(class) };
            *sum += f64::from(scaled(weight, value, slope));
            *total += f64::from(weight);
        })?;
        let bands = images.iter().flat_map(|image| &image.bands);
        let (sum, total) = bands.fold((0.0, 0.0), |(sum, total), band| (sum + band.0, total + band.1));
        let share = if total > 0.0 { 1.0 / total } else { 0.0 };
        let gradient = images.iter().flat_map(|image| &image.gradient);
        Ok(Found { value: sum * share, gradient: gradient.map(|value| value * share as f32).collect() })
    }
}

/// The smallest cross-entropy that is kept.
fn bar(pixels: &Labelled<'_>, Hardest { threshold, share }: Hardest) -> Result<f32, Error> {
    let images = pixels.sweep(
        false,
        |_, _| Vec::new(),
        |values: &mut Vec<f32>, class, logits, slope| {
            values.push(evaluate(PixelObjective::CrossEntropy, logits, class, slope));
        },
    )?;
    let mut values: Vec<f32> = images.into_iter().flat_map(|image| image.bands).flatten().collect();
    // A softmax below the threshold is a cross-entropy above this.
    let above = (-threshold.ln()) as f32;
    let above = above.next_up();
    let least = ((share * values.len() as f64) as usize).min(values.len());
    if least == 0 {
        return Ok(above);
    }
    let (_, last, _) = values.select_nth_unstable_by(least - 1, |a, b| b.total_cmp(a));
    Ok(above.min(*last))
}
