//! Bilinear upsampling, one axis after the other.

use super::element::{ByElement, Element, widen};
use super::interpolation::{add_mix, add_scaled, mix};
use crate::operation::CpuInputs;
use crate::resize::Resize;
use crate::upsample::{Upsample, UpsampleGradient};
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl ByElement<1> for Upsample {
    fn compute<T: Element>(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(T::to_cpu_storage_owned(resize::<T>(&self.0, x.slice()?, None)))
    }
}

impl ByElement<2> for Upsample {
    fn compute<T: Element>(&self, [x, residual]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(T::to_cpu_storage_owned(resize::<T>(&self.0, x.slice()?, Some(residual.slice()?))))
    }
}

impl ByElement<1> for UpsampleGradient {
    fn compute<T: Element>(&self, [gradient]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(T::to_cpu_storage_owned(resize_gradient::<T>(&self.0, gradient.slice()?)))
    }
}

/// (N, h, w, C) to (N, H, W, C), added to `residual` where there is one.
fn resize<T: Element>(r: &Resize, x: &[T], residual: Option<&[T]>) -> Vec<T> {
    let [rows, columns] = r.positions();
    let source_row = r.source[1] * r.channels;
    let target_row = r.target[1] * r.channels;
    let images = x.len() / (r.source[0] * source_row);
    let mut out = vec![T::default(); images * r.target[0] * target_row];
    out.par_chunks_mut(target_row).enumerate().for_each_init(
        || (vec![0.0; source_row], Vec::new()),
        |(line, sums), (index, out)| {
            let start = index / r.target[0] * r.source[0];
            let row = rows[index % r.target[0]];
            let source = |row: usize| &x[(start + row) * source_row..][..source_row];
            mix(line, source(row.first), source(row.second), row.weight);
            T::in_f32(out, sums, |out| {
                if let Some(residual) = residual {
                    widen(out, &residual[index * target_row..][..target_row]);
                }
                for (out, at) in out.chunks_exact_mut(r.channels).zip(&columns) {
                    let pixel = |column: usize| &line[column * r.channels..][..r.channels];
                    let mix = if residual.is_some() { add_mix } else { mix };
                    mix(out, pixel(at.first), pixel(at.second), at.weight);
                }
            });
        },
    );
    out
}

/// The transpose of [`resize`]: (N, H, W, C) to (N, h, w, C).
fn resize_gradient<T: Element>(r: &Resize, gradient: &[T]) -> Vec<T> {
    let [rows, columns] = r.positions();
    let source_row = r.source[1] * r.channels;
    let target_row = r.target[1] * r.channels;
    let images = gradient.len() / (r.target[0] * target_row);
    let mut out = vec![T::default(); images * r.source[0] * source_row];
    out.par_chunks_mut(source_row).enumerate().for_each_init(
        || (vec![0.0; target_row], Vec::new()),
        |(line, sums), (index, out)| {
            let (image, source) = (index / r.source[0], index % r.source[0]);
            line.fill(0.0);
            for (target, row) in rows.iter().enumerate() {
                let mut weight = 0.0;
                if row.first == source {
                    weight += 1.0 - row.weight;
                }
                if row.second == source {
                    weight += row.weight;
                }
                if weight != 0.0 {
                    let start = (image * r.target[0] + target) * target_row;
                    add_scaled(line, &gradient[start..start + target_row], weight);
                }
            }
            T::in_f32(out, sums, |out| {
                out.fill(0.0);
                for (value, at) in line.chunks_exact(r.channels).zip(&columns) {
                    let mut pixel = |column: usize, weight| {
                        add_scaled(&mut out[column * r.channels..][..r.channels], value, weight);
                    };
                    pixel(at.first, 1.0 - at.weight);
                    pixel(at.second, at.weight);
                }
            });
        },
    );
    out
}
