//! The regions that adaptive average pooling averages.

use std::ops::Range;

/// Regions of several levels, `bins` x `bins` each, level by level and row by row.
pub(crate) struct Regions {
    /// Height, width and channels of the map.
    pub(crate) input: [usize; 3],
    pub(crate) levels: Vec<Level>,
}

/// The regions of a level.
pub(crate) struct Level {
    /// The index of its first region.
    pub(crate) start: usize,
    /// Regions along each side.
    pub(crate) bins: usize,
    pub(crate) rows: Vec<Range<usize>>,
    pub(crate) columns: Vec<Range<usize>>,
}

impl Level {
    /// Pixels of region (i, j).
    pub(crate) fn pixels(&self, i: usize, j: usize) -> usize {
        self.rows[i].len() * self.columns[j].len()
    }
}

impl Regions {
    pub(crate) fn new(input: [usize; 3], bins: &[usize]) -> Self {
        let spans = |bins, size| (0..bins).map(|bin| bin_span(bin, bins, size)).collect();
        let mut start = 0;
        let levels = bins.iter().map(|&bins| {
            let level = Level { start, bins, rows: spans(bins, input[0]), columns: spans(bins, input[1]) };
            start += bins * bins;
            level
        });
        Self { input, levels: levels.collect() }
    }

    /// The number of regions.
    pub(crate) fn count(&self) -> usize {
        self.levels.iter().map(|level| level.bins * level.bins).sum()
    }
}

/// The input rows (or columns) of bin `bin` of `bins`: from the floor of its start to the ceiling
/// of its end, so that bins overlap where their number does not divide the size.
fn bin_span(bin: usize, bins: usize, size: usize) -> Range<usize> {
    bin * size / bins..((bin + 1) * size).div_ceil(bins)
}
