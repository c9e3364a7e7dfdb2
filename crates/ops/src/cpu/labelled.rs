//! Sweeps over the labelled pixels of upsampled logits, which are never stored at full size.

use super::interpolation::{add_scaled, mix};
use super::lanes::LANES;
use super::objectives::Logits;
use crate::error::Error;
use crate::pixel_objective::IGNORE_LABEL;
use crate::resize::Resize;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of the label map that one thread takes at a time.
const BAND: usize = 16;

/// Small logits (N, h, w, K) and the label map (N, H, W) whose size they are brought to.
pub(crate) struct Labelled<'a> {
    pub(super) operation: &'static str,
    pub(super) resize: &'a Resize,
    pub(super) logits: &'a [f32],
    pub(super) label: &'a [u8],
}

/// What a sweep found in an image.
pub(super) struct Swept<S> {
    /// The states of the image's bands, from above.
    pub(super) bands: Vec<S>,
    /// The sum of the pixels' slopes, brought to the small logits (h, w, K). Empty unless it was
    /// requested.
    pub(super) gradient: Vec<f32>,
}

/// A row, a column and a value of the label map that is no class.
type Foreign = (usize, usize, u8);

impl Labelled<'_> {
    /// Visits each labelled pixel, from the upper left of the first image to the lower right of the
    /// last. `visit` gets the state of the pixel's band, its label and its logits, and writes its
    /// slope by the logits, with the same padding. `start` makes the state of a band from its image and
    /// its place among all bands of the batch. States and gradients do not depend on the number of
    /// threads.
    pub(super) fn sweep<S: Send>(
        &self,
        with_gradient: bool,
        start: impl Fn(usize, usize) -> S + Sync,
        visit: impl Fn(&mut S, usize, Logits<'_>, &mut [f32]) + Sync,
    ) -> Result<Vec<Swept<S>>, Error> {
        let r = self.resize;
        let small = r.source[0] * r.source[1] * r.channels;
        let full = r.target[0] * r.target[1];
        let bands = r.target[0].div_ceil(BAND);
        let parts: Vec<Result<Band<S>, Error>> = (0..self.label.len() / full * bands)
            .into_par_iter()
            .map(|index| {
                let (image, band) = (index / bands, index % bands);
                let rows = band * BAND..((band + 1) * BAND).min(r.target[0]);
                let logits = &self.logits[image * small..(image + 1) * small];
                let label = &self.label[image * full..(image + 1) * full];
                let state = start(image, index);
                let swept = band_of(r, (logits, label), rows, with_gradient, state, &visit);
                swept.map_err(|(row, column, label)| {
                    let (operation, classes) = (self.operation, r.channels);
                    Error::Label { operation, label, image, row, column, classes }
                })
            })
            .collect();
        let mut images: Vec<Swept<S>> = Vec::with_capacity(self.label.len() / full);
        for (index, part) in parts.into_iter().enumerate() {
            let Band { state, first_row, gradient } = part?;
            if index % bands == 0 {
                let gradient = if with_gradient { vec![0.0; small] } else { Vec::new() };
                images.push(Swept { bands: Vec::with_capacity(bands), gradient });
            }
            let image = images.last_mut().expect("pushed at the image's first band");
            image.bands.push(state);
            let start = first_row * r.source[1] * r.channels;
            if with_gradient {
                add_scaled(&mut image.gradient[start..start + gradient.len()], &gradient, 1.0);
            }
        }
        Ok(images)
    }
}

struct Band<S> {
    state: S,
    /// First row of the small map that `gradient` covers.
    first_row: usize,
    gradient: Vec<f32>,
}

/// The rows `band` of one image.
fn band_of<S>(
    r: &Resize,
    (logits, label): (&[f32], &[u8]),
    band: Range<usize>,
    with_gradient: bool,
    mut state: S,
    visit: &(impl Fn(&mut S, usize, Logits<'_>, &mut [f32]) + Sync),
) -> Result<Band<S>, Foreign> {
    let classes = r.channels;
    // The lines of the small map, and their slopes, have room for whole vectors at each pixel.
    let room = classes.next_multiple_of(LANES);
    let row_size = r.source[1] * classes;
    let [rows, columns] = r.positions();
    let (first_row, last_row) = (rows[band.start].first, rows[band.end - 1].second);
    let mut gradient = vec![0.0; if with_gradient { (last_row + 1 - first_row) * row_size } else { 0 }];
    let mut line = vec![f32::MIN; r.source[1] * room];
    let mut line_gradient = vec![0.0; r.source[1] * room];
    let (mut pixel, mut slope) = (vec![0.0; room], vec![0.0; room]);
    for y in band {
        let at = rows[y];
        let source = |row: usize| logits[row * row_size..][..row_size].chunks_exact(classes);
        for ((line, first), second) in
            line.chunks_exact_mut(room).zip(source(at.first)).zip(source(at.second))
        {
            mix(line, first, second, at.weight);
        }
        line_gradient.fill(0.0);
        for (x, (&label, column)) in label[y * r.target[1]..].iter().zip(&columns).enumerate() {
            if label == IGNORE_LABEL {
                continue;
            }
            if usize::from(label) >= classes {
                return Err((y, x, label));
            }
            let (first, second) = (column.first * room, column.second * room);
            mix(&mut pixel, &line[first..first + room], &line[second..second + room], column.weight);
            visit(&mut state, usize::from(label), Logits { padded: &pixel, classes }, &mut slope);
            if with_gradient {
                let first = &mut line_gradient[first..first + room];
                add_scaled(first, &slope, 1.0 - column.weight);
                let second = &mut line_gradient[second..second + room];
                add_scaled(second, &slope, column.weight);
            }
        }
        if with_gradient {
            let mut add = |row: usize, weight| {
                let start = (row - first_row) * row_size;
                let gradient = gradient[start..start + row_size].chunks_exact_mut(classes);
                for (gradient, line) in gradient.zip(line_gradient.chunks_exact(room)) {
                    add_scaled(gradient, line, weight);
                }
            };
            add(at.first, 1.0 - at.weight);
            add(at.second, at.weight);
        }
    }
    Ok(Band { state, first_row, gradient })
}
