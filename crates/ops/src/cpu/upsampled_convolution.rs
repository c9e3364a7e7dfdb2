//! The products of a small map and the taps of a kernel, upsampled and shifted: rows first, then
//! columns.

use super::interpolation::{add_mix, add_scaled, mix};
use crate::operation::{CpuInputs, OnCpu};
use crate::resize::Between;
use crate::upsampled_convolution::{SpreadTaps, SpreadTapsGradient};
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

impl OnCpu<2> for SpreadTaps {
    fn compute(&self, [products, residual]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(spread(self, products.slice()?, residual.slice()?)))
    }
}

impl OnCpu<1> for SpreadTapsGradient {
    fn compute(&self, [gradient]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(gather(&self.0, gradient.slice()?)))
    }
}

/// The position that tap `tap` of a kernel of `kernel` taps reads from `position`, if it is one of
/// `count`.
#[inline(always)]
#[allow(clippy::inline_always)]
fn shifted(position: usize, tap: usize, kernel: usize, count: usize) -> Option<usize> {
    (position + tap).checked_sub(kernel / 2).filter(|at| *at < count)
}

/// (N, h, w, K K O) to (N, H, W, O), added to `residual`.
fn spread(s: &SpreadTaps, products: &[f32], residual: &[f32]) -> Vec<f32> {
    let [rows, columns] = s.resize.positions();
    let [h, w] = s.resize.source;
    let image = h * w * s.kernel * s.kernel * s.resize.channels;
    let line = columns.len() * s.resize.channels;
    let mut out = vec![0.0; residual.len()];
    out.par_chunks_mut(line).zip(residual.par_chunks(line)).enumerate().for_each_init(
        || vec![0.0; w * s.kernel * s.resize.channels],
        |buffer, (index, (out, residual))| {
            out.copy_from_slice(residual);
            let products = &products[index / rows.len() * image..][..image];
            let row = index % rows.len();
            Arch::new().dispatch(SpreadRow { s, out, products, buffer, row, rows: &rows, columns: &columns });
        },
    );
    out
}

/// One row of the output.
struct SpreadRow<'a> {
    s: &'a SpreadTaps,
    out: &'a mut [f32],
    /// Of the image.
    products: &'a [f32],
    /// A row of products with the taps of one row of the kernel.
    buffer: &'a mut [f32],
    row: usize,
    rows: &'a [Between],
    columns: &'a [Between],
}

impl NullaryFnOnce for SpreadRow<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let (kernel, channels) = (self.s.kernel, self.s.resize.channels);
        let [taps, width] = [kernel * channels, self.s.resize.source[1]];
        for row_tap in 0..kernel {
            let Some(row) = shifted(self.row, row_tap, kernel, self.rows.len()) else { continue };
            let at = self.rows[row];
            for (column, out) in self.buffer.chunks_exact_mut(taps).enumerate() {
                let of =
                    |row: usize| &self.products[((row * width + column) * kernel + row_tap) * taps..][..taps];
                mix(out, of(at.first), of(at.second), at.weight);
            }
            for (column, out) in self.out.chunks_exact_mut(channels).enumerate() {
                for tap in 0..kernel {
                    let Some(column) = shifted(column, tap, kernel, self.columns.len()) else { continue };
                    let at = self.columns[column];
                    let of = |column: usize| &self.buffer[(column * kernel + tap) * channels..][..channels];
                    add_mix(out, of(at.first), of(at.second), at.weight);
                }
            }
        }
    }
}

/// The transpose of [`spread`]: (N, H, W, O) to (N, h, w, K K O).
fn gather(s: &SpreadTaps, gradient: &[f32]) -> Vec<f32> {
    let [rows, columns] = s.resize.positions();
    let [h, w] = s.resize.source;
    let (line, source_row) = (columns.len() * s.resize.channels, w * s.kernel * s.kernel * s.resize.channels);
    let image = rows.len() * line;
    let mut out = vec![0.0; gradient.len() / image * h * source_row];
    out.par_chunks_mut(source_row).enumerate().for_each_init(
        || vec![0.0; line],
        |buffer, (index, out)| {
            let gradient = &gradient[index / h * image..][..image];
            let row = index % h;
            Arch::new().dispatch(GatherRow { s, out, gradient, buffer, row, rows: &rows, columns: &columns });
        },
    );
    out
}

/// One row of the products' gradient.
struct GatherRow<'a> {
    s: &'a SpreadTaps,
    out: &'a mut [f32],
    /// Of the image.
    gradient: &'a [f32],
    /// The rows of the gradient reaching this row, for one row of the kernel.
    buffer: &'a mut [f32],
    row: usize,
    rows: &'a [Between],
    columns: &'a [Between],
}

impl NullaryFnOnce for GatherRow<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let (kernel, channels) = (self.s.kernel, self.s.resize.channels);
        let line = self.buffer.len();
        for row_tap in 0..kernel {
            self.buffer.fill(0.0);
            for target in 0..self.rows.len() {
                let Some(row) = shifted(target, row_tap, kernel, self.rows.len()) else { continue };
                let at = self.rows[row];
                let share = |source: usize, weight: f32| if source == self.row { weight } else { 0.0 };
                let weight = share(at.first, 1.0 - at.weight) + share(at.second, at.weight);
                if weight != 0.0 {
                    add_scaled(self.buffer, &self.gradient[target * line..][..line], weight);
                }
            }
            for (column, gradient) in self.buffer.chunks_exact(channels).enumerate() {
                for tap in 0..kernel {
                    let Some(column) = shifted(column, tap, kernel, self.columns.len()) else { continue };
                    let at = self.columns[column];
                    for (source, weight) in [(at.first, 1.0 - at.weight), (at.second, at.weight)] {
                        let start = ((source * kernel + row_tap) * kernel + tap) * channels;
                        add_scaled(&mut self.out[start..start + channels], gradient, weight);
                    }
                }
            }
        }
    }
}
