//! Predicted classes at full size.

use super::interpolation::mix;
use super::objectives::argmax;
use crate::operation::{CpuInputs, OnCpu};
use crate::prediction::Predict;
use crate::resize::Resize;
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl OnCpu<1> for Predict {
    fn compute(&self, [logits]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::U8(predict(&self.0, logits.slice()?)))
    }
}

/// The class of the largest upsampled logit of every pixel, (N, H, W), the first among equals.
fn predict(r: &Resize, logits: &[f32]) -> Vec<u8> {
    let classes = r.channels;
    let row_size = r.source[1] * classes;
    let [rows, columns] = r.positions();
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
