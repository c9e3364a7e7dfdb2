//! The phases of a strided convolution, one for each remainder of row and column by the stride.

use super::element::Element;
use crate::geometry::Geometry;
use rayon::prelude::*;

/// The input pixels whose row and column leave the same remainders by the stride, and the taps that
/// reach them.
pub(super) struct Phase {
    pub(super) start: [usize; 2],
    pub(super) taps: Vec<PhaseTap>,
}

pub(super) struct PhaseTap {
    pub(super) kernel: [usize; 2],
    /// Output pixel minus the index of the input pixel within its phase.
    pub(super) offset: [isize; 2],
}

pub(super) fn phases(g: &Geometry) -> Vec<Phase> {
    let stride = g.stride as isize;
    // Input row i receives from output row o through kernel row k where o * stride + k * dilation -
    // padding = i.
    let reach = |start: usize, k: usize| {
        let distance = (start + g.padding) as isize - (k * g.dilation) as isize;
        (distance.rem_euclid(stride) == 0).then_some(distance.div_euclid(stride))
    };
    let mut phases = Vec::new();
    for top in 0..g.stride.min(g.input[0]) {
        for left in 0..g.stride.min(g.input[1]) {
            let mut taps = Vec::new();
            // From the last tap to the first, so that the output pixels that they read rise.
            for kh in (0..g.kernel[0]).rev() {
                for kw in (0..g.kernel[1]).rev() {
                    if let (Some(dy), Some(dx)) = (reach(top, kh), reach(left, kw)) {
                        taps.push(PhaseTap { kernel: [kh, kw], offset: [dy, dx] });
                    }
                }
            }
            phases.push(Phase { start: [top, left], taps });
        }
    }
    phases
}

/// The weights as (taps, O, I).
pub(super) fn turned_weights(g: &Geometry, weight: &[f32], taps: &[PhaseTap]) -> Vec<f32> {
    let (inputs, outputs) = (g.input[2], g.output[2]);
    let patch = g.kernel[0] * g.kernel[1] * inputs;
    let mut turned = vec![0.0; inputs * taps.len() * outputs];
    turned.par_chunks_mut(outputs * inputs).zip(taps).for_each(|(turned, tap)| {
        let column = (tap.kernel[0] * g.kernel[1] + tap.kernel[1]) * inputs;
        for (turned, weights) in turned.chunks_exact_mut(inputs).zip(weight.chunks_exact(patch)) {
            turned.copy_from_slice(&weights[column..column + inputs]);
        }
    });
    turned
}

/// Writes the pixels of one phase to their places.
pub(super) fn spread<T: Element>(
    g: &Geometry,
    start: [usize; 2],
    target: [usize; 2],
    part: &[T],
    out: &mut [T],
) {
    let [height, width, channels] = g.input;
    out.par_chunks_mut(height * width * channels)
        .zip(part.par_chunks(target[0] * target[1] * channels))
        .for_each(|(image, part)| {
            for (index, pixel) in part.chunks_exact(channels).enumerate() {
                let y = start[0] + index / target[1] * g.stride;
                let x = start[1] + index % target[1] * g.stride;
                let at = (y * width + x) * channels;
                image[at..at + channels].copy_from_slice(pixel);
            }
        });
}
