//! The gain of every pixel at full size.

use super::interpolation::mix;
use super::objectives::{Logits, evaluate};
use crate::error::Error;
use crate::gain_map::GainMap;
use crate::operation::{CpuInputs, OnCpu, Operation};
use crate::pixel_objective::{IGNORE_LABEL, PixelObjective};
use crate::resize::Resize;
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl OnCpu<2> for GainMap {
    fn compute(&self, [logits, label]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (logits, label) = (logits.slice()?, label.slice::<u8>()?);
        let [height, width] = self.0.target;
        let classes = self.0.channels;
        let foreign = |label: u8| label != IGNORE_LABEL && usize::from(label) >= classes;
        if let Some(at) = label.iter().position(|&label| foreign(label)) {
            let (image, row, column) = (at / width / height, at / width % height, at % width);
            let (operation, label) = (Self::NAME, label[at]);
            return Err(Error::Label { operation, label, image, row, column, classes }.into());
        }
        Ok(CpuStorage::F32(gains(&self.0, logits, label)))
    }
}

/// The gain of every pixel, (N, H, W). Every label is a class or [`IGNORE_LABEL`].
fn gains(r: &Resize, logits: &[f32], label: &[u8]) -> Vec<f32> {
    let classes = r.channels;
    let row_size = r.source[1] * classes;
    let [rows, columns] = r.positions();
    let mut out = vec![0.0; label.len()];
    out.par_chunks_mut(r.target[1]).zip(label.par_chunks(r.target[1])).enumerate().for_each_init(
        || (vec![0.0; row_size], vec![0.0; classes], vec![0.0; classes]),
        |(line, pixel, slope), (index, (out, label))| {
            let start = index / r.target[0] * r.source[0];
            let at = rows[index % r.target[0]];
            let source = |row: usize| &logits[(start + row) * row_size..][..row_size];
            mix(line, source(at.first), source(at.second), at.weight);
            for ((out, &label), at) in out.iter_mut().zip(label).zip(&columns) {
                if label != IGNORE_LABEL {
                    let value = |column: usize| &line[column * classes..][..classes];
                    mix(pixel, value(at.first), value(at.second), at.weight);
                    let logits = Logits { padded: pixel, classes };
                    *out = evaluate(PixelObjective::Gain, logits, usize::from(label), slope);
                }
            }
        },
    );
    out
}
