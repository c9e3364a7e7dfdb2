//! Lovász-softmax.

use super::super::labelled::{Labelled, Swept};
use super::super::objectives::softmax;
use super::{Found, LossOnCpu, through_softmax};
use crate::error::Error;
use crate::losses::Lovasz;
use rayon::prelude::*;

impl LossOnCpu for Lovasz {
    fn find(&self, pixels: &Labelled<'_>, with_gradient: bool) -> Result<Found, Error> {
        if !self.per_image {
            return of_set(pixels, with_gradient, 1.0);
        }
        let full = pixels.resize.target[0] * pixels.resize.target[1];
        let images = pixels.label.len() / full;
        let small = pixels.logits.len() / images;
        let mut found = Found { value: 0.0, gradient: Vec::new() };
        for (image, (logits, label)) in
            pixels.logits.chunks_exact(small).zip(pixels.label.chunks_exact(full)).enumerate()
        {
            let own = of_set(&Labelled { logits, label, ..*pixels }, with_gradient, 1.0 / images as f64);
            let own = own.map_err(|error| of_image(error, image))?;
            found.value += own.value;
            found.gradient.extend(own.gradient);
        }
        Ok(found)
    }
}

/// `error` of the image number `image`.
fn of_image(error: Error, image: usize) -> Error {
    match error {
        Error::Label { operation, label, row, column, classes, .. } => {
            Error::Label { operation, label, image, row, column, classes }
        }
        other => other,
    }
}

/// The labelled pixels of a band: their labels, and by class their softmax.
struct Band {
    labels: Vec<u8>,
    probabilities: Vec<Vec<f32>>,
}

/// The loss over all pixels, times `scale`.
fn of_set(pixels: &Labelled<'_>, with_gradient: bool, scale: f64) -> Result<Found, Error> {
    let classes = pixels.resize.channels;
    let images: Vec<Swept<Band>> = pixels.sweep(
        false,
        |_, _| Band { labels: Vec::new(), probabilities: vec![Vec::new(); classes] },
        |band: &mut Band, label, logits, slope| {
            softmax(logits, slope);
            band.labels.push(label as u8);
            for (of_class, p) in band.probabilities.iter_mut().zip(&*slope) {
                of_class.push(*p);
            }
        },
    )?;
    let bands: Vec<&Band> = images.iter().flat_map(|image| &image.bands).collect();
    let starts: Vec<usize> =
        bands.iter().scan(0, |next, band| Some(std::mem::replace(next, *next + band.labels.len()))).collect();
    let labels: Vec<u8> = bands.iter().flat_map(|band| &band.labels).copied().collect();
    let present: Vec<usize> = (0..classes).filter(|&class| labels.contains(&(class as u8))).collect();
    let share = scale / present.len().max(1) as f64;
    let found: Vec<(f64, Vec<f32>)> = present
        .par_iter()
        .map(|&class| {
            let probabilities = bands.iter().flat_map(|band| &band.probabilities[class]).copied().collect();
            of_class(&labels, probabilities, class as u8, share)
        })
        .collect();
    drop(bands);
    drop(images);
    let value = found.iter().map(|(value, _)| value).sum();
    if !with_gradient {
        return Ok(Found { value, gradient: Vec::new() });
    }
    let mut slopes: Vec<Option<Vec<f32>>> = vec![None; classes];
    for (class, (_, slope)) in present.into_iter().zip(found) {
        slopes[class] = Some(slope);
    }
    let images = pixels.sweep(
        true,
        |_, band| starts[band],
        |next, _, logits, slope| {
            softmax(logits, slope);
            let of_class = |class: usize| slopes[class].as_ref().map_or(0.0, |slopes| slopes[*next]);
            through_softmax(&mut slope[..classes], of_class);
            *next += 1;
        },
    )?;
    Ok(Found { value, gradient: images.into_iter().flat_map(|image| image.gradient).collect() })
}

/// `share` times the Lovász extension of a class's Jaccard loss, and its slope by the class's
/// softmax at each pixel.
fn of_class(labels: &[u8], mut probabilities: Vec<f32>, class: u8, share: f64) -> (f64, Vec<f32>) {
    let error = |pixel: usize, p: f32| if labels[pixel] == class { 1.0 - p } else { p };
    let mut order: Vec<(f32, u32)> =
        (probabilities.iter().enumerate()).map(|(pixel, &p)| (error(pixel, p), pixel as u32)).collect();
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let own: f64 = labels.iter().map(|label| f64::from(u8::from(*label == class))).sum();
    let (mut common, mut union, mut jaccard, mut value) = (own, own, 0.0, 0.0);
    for (error, pixel) in order {
        let pixel = pixel as usize;
        let inside = labels[pixel] == class;
        if inside {
            common -= 1.0;
        } else {
            union += 1.0;
        }
        let next = 1.0 - common / union;
        let slope = share * (next - jaccard);
        (jaccard, value) = (next, value + slope * f64::from(error));
        probabilities[pixel] = if inside { -slope } else { slope } as f32;
    }
    (value, probabilities)
}
