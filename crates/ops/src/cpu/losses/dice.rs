//! The Dice loss.

use super::super::labelled::Labelled;
use super::super::objectives::softmax;
use super::{Found, LossOnCpu, through_softmax};
use crate::error::Error;
use crate::losses::Dice;

/// What the library segmentation-models-pytorch divides by at least.
const LEAST: f64 = 1e-7;

/// Sums of a class over pixels.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// Of the softmax where the class is the label.
    common: f64,
    /// Of the softmax.
    predicted: f64,
    labelled: f64,
}

impl LossOnCpu for Dice {
    fn find(&self, pixels: &Labelled<'_>, with_gradient: bool) -> Result<Found, Error> {
        let classes = pixels.resize.channels;
        let images = pixels.sweep(
            false,
            |_, _| vec![Sums::default(); classes],
            |sums: &mut Vec<Sums>, class, logits, slope| {
                softmax(logits, slope);
                for (sums, &p) in sums.iter_mut().zip(&*slope) {
                    sums.predicted += f64::from(p);
                }
                sums[class].common += f64::from(slope[class]);
                sums[class].labelled += 1.0;
            },
        )?;
        let mut sums = vec![Sums::default(); classes];
        for (sum, part) in
            images.iter().flat_map(|image| &image.bands).flat_map(|band| band.iter().enumerate())
        {
            sums[sum].common += part.common;
            sums[sum].predicted += part.predicted;
            sums[sum].labelled += part.labelled;
        }
        let terms: Vec<Term> = sums.iter().map(|sums| self.term(*sums, classes)).collect();
        let value = terms.iter().map(|term| term.value).sum();
        if !with_gradient {
            return Ok(Found { value, gradient: Vec::new() });
        }
        let images = pixels.sweep(
            true,
            |_, _| (),
            |(), label, logits, slope| {
                softmax(logits, slope);
                through_softmax(&mut slope[..classes], |class| {
                    let Term { by_common, by_predicted, .. } = terms[class];
                    if class == label { by_common + by_predicted } else { by_predicted }
                });
            },
        )?;
        Ok(Found { value, gradient: images.into_iter().flat_map(|image| image.gradient).collect() })
    }
}

/// A class's share of the loss, and its slopes by two of the class's sums.
#[derive(Default)]
struct Term {
    value: f64,
    by_common: f32,
    by_predicted: f32,
}

impl Dice {
    fn term(&self, Sums { common, predicted, labelled }: Sums, classes: usize) -> Term {
        if labelled == 0.0 {
            return Term::default();
        }
        let (share, both) = (1.0 / classes as f64, (predicted + labelled + self.smooth).max(LEAST));
        let dice = (2.0 * common + self.smooth) / both;
        Term {
            value: share * (1.0 - dice),
            by_common: (-2.0 * share / both) as f32,
            by_predicted: (share * dice / both) as f32,
        }
    }
}
