//! Overlapping windows that cover a map.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

/// The positions of windows over a map.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) tops: Vec<usize>,
    pub(crate) lefts: Vec<usize>,
    /// Rows per window.
    pub(crate) height: usize,
    /// Pixels per row of a window.
    pub(crate) width: usize,
    /// Rows of the map.
    pub(crate) rows: usize,
    /// Pixels per row of the map.
    pub(crate) columns: usize,
}

impl Grid {
    /// Square windows of `size` pixels every `stride` pixels over `rows` x `columns` pixels. The
    /// last ones end at the border. A smaller map is a single window.
    pub(crate) fn new(rows: usize, columns: usize, size: usize, stride: usize) -> Self {
        let (tops, lefts) = (starts(rows, size, stride), starts(columns, size, stride));
        Self { tops, lefts, height: size.min(rows), width: size.min(columns), rows, columns }
    }

    /// The number of windows.
    pub(crate) fn count(&self) -> usize {
        self.tops.len() * self.lefts.len()
    }

    /// Top and left of each window, row by row.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (usize, usize)> {
        self.tops.iter().flat_map(|&top| self.lefts.iter().map(move |&left| (top, left)))
    }

    /// The reciprocal number of windows over each pixel of `rows` rows from `top` downwards: (1,
    /// rows, W, 1).
    pub(crate) fn shares(&self, top: usize, rows: usize, device: &Device) -> Result<Tensor> {
        let share = |starts: &[usize], length: usize, pixels: Range<usize>| -> Vec<f32> {
            let windows = |at| starts.iter().filter(|&&start| start <= at && at < start + length).count();
            pixels.map(|at| 1.0 / windows(at) as f32).collect()
        };
        let vertical =
            Tensor::from_vec(share(&self.tops, self.height, top..top + rows), (1, rows, 1, 1), device)?;
        let horizontal = share(&self.lefts, self.width, 0..self.columns);
        let horizontal = Tensor::from_vec(horizontal, (1, 1, self.columns, 1), device)?;
        vertical.broadcast_mul(&horizontal)
    }

    /// The average (N, rows, columns, C) of `windows` (N, height, width, C), which are in the order
    /// of [`Grid::positions`]. Each pixel is the mean over the windows that cover it.
    pub(crate) fn average(&self, windows: &[Tensor]) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (&top, row) in self.tops.iter().zip(windows.chunks(self.lefts.len())) {
            let mut strip: Option<Tensor> = None;
            for (&left, window) in self.lefts.iter().zip(row) {
                let placed = window.pad_with_zeros(2, left, self.columns - left - self.width)?;
                strip = Some(add(strip, placed)?);
            }
            let Some(strip) = strip else { break };
            sum = Some(add(sum, strip.pad_with_zeros(1, top, self.rows - top - self.height)?)?);
        }
        let Some(sum) = sum else { candle_core::bail!("a map without windows has no average") };
        sum.broadcast_mul(&self.shares(0, self.rows, sum.device())?)
    }
}

/// `sum` with `term`.
pub(crate) fn add(sum: Option<Tensor>, term: Tensor) -> Result<Tensor> {
    match sum {
        None => Ok(term),
        Some(sum) => sum + term,
    }
}

/// The positions of windows of `size` along `extent` pixels: every `stride`, with the last window
/// flush with the end.
fn starts(extent: usize, size: usize, stride: usize) -> Vec<usize> {
    let last = extent.saturating_sub(size);
    (0..last).step_by(stride).chain([last]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_the_end_and_leave_no_gap() {
        assert_eq!(starts(10, 4, 3), [0, 3, 6]);
        assert_eq!(starts(11, 4, 3), [0, 3, 6, 7]);
        assert_eq!(starts(4, 4, 3), [0]);
        assert_eq!(starts(3, 4, 3), [0]);
    }

    #[test]
    fn windows_cut_from_a_map_average_to_the_map() -> Result<()> {
        let values: Vec<f32> = (0..7 * 5 * 2).map(|value| value as f32).collect();
        let map = Tensor::from_vec(values, (1, 7, 5, 2), &Device::Cpu)?;
        let grid = Grid::new(7, 5, 3, 2);
        let cut = |(top, left)| map.narrow(1, top, grid.height)?.narrow(2, left, grid.width)?.contiguous();
        let windows = grid.positions().map(cut).collect::<Result<Vec<_>>>()?;
        assert_eq!((windows.len(), grid.count()), (6, 6));
        let distance = (grid.average(&windows)? - &map)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(distance < 1e-5, "{distance}");
        Ok(())
    }
}
