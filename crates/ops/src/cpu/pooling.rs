//! Maximum and adaptive average pooling.

use rayon::prelude::*;

/// Sizes of a maximum pooling with a square kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPool {
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl MaxPool {
    /// The input pixels under the output pixel, as `row * width + column`.
    fn window(&self, row: usize, column: usize) -> impl Iterator<Item = usize> + use<> {
        let [height, width, _] = self.input;
        let span = |at: usize, size: usize| {
            let start = at * self.stride;
            start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(size)
        };
        let columns = span(column, width);
        span(row, height).flat_map(move |y| columns.clone().map(move |x| y * width + x))
    }
}

/// Largest value under each window; a NaN wins.
pub(crate) fn max_pool(g: &MaxPool, x: &[f32]) -> Vec<f32> {
    let [height, width, channels] = g.input;
    let image = height * width * channels;
    let row = g.output[1] * channels;
    let mut out = vec![f32::NEG_INFINITY; x.len() / image * g.output[0] * row];
    out.par_chunks_mut(row).enumerate().for_each(|(index, out)| {
        let x = &x[index / g.output[0] * image..][..image];
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            for pixel in g.window(index % g.output[0], column) {
                for (out, value) in out.iter_mut().zip(&x[pixel * channels..]) {
                    if *value > *out || value.is_nan() {
                        *out = *value;
                    }
                }
            }
        }
    });
    out
}

/// Each output's gradient goes to the first largest input of its window.
pub(crate) fn max_pool_gradient(g: &MaxPool, x: &[f32], out: &[f32], gradient: &[f32]) -> Vec<f32> {
    let [height, width, channels] = g.input;
    let (image, row) = (height * width * channels, g.output[1] * channels);
    let mut result = vec![0.0; x.len()];
    result.par_chunks_mut(image).zip(x.par_chunks(image)).enumerate().for_each(|(index, (result, x))| {
        let mut open = vec![true; channels];
        for at in 0..g.output[0] * g.output[1] {
            let start = index * g.output[0] * row + at * channels;
            let (out, gradient) = (&out[start..start + channels], &gradient[start..]);
            open.fill(true);
            for pixel in g.window(at / g.output[1], at % g.output[1]) {
                let start = pixel * channels;
                for (c, open) in open.iter_mut().enumerate() {
                    if *open && (x[start + c] == out[c] || x[start + c].is_nan()) {
                        result[start + c] += gradient[c];
                        *open = false;
                    }
                }
            }
        }
    });
    result
}

/// The input rows (or columns) that bin `bin` of `bins` averages: from the floor of the bin's start to the
/// ceiling of its end, so that bins of a size that does not divide overlap.
pub(crate) fn bin_span(bin: usize, bins: usize, size: usize) -> std::ops::Range<usize> {
    bin * size / bins..((bin + 1) * size).div_ceil(bins)
}

/// Mean over each of `bins` x `bins` regions.
pub(crate) fn adaptive_average(x: &[f32], input: [usize; 3], bins: usize) -> Vec<f32> {
    let [height, width, channels] = input;
    let image = height * width * channels;
    let mut out = vec![0.0; x.len() / image * bins * bins * channels];
    out.par_chunks_mut(channels).enumerate().for_each_init(
        || vec![0.0_f64; channels],
        |sums, (index, out)| {
            let x = &x[index / (bins * bins) * image..][..image];
            let rows = bin_span(index / bins % bins, bins, height);
            let columns = bin_span(index % bins, bins, width);
            let count = (rows.len() * columns.len()) as f64;
            sums.fill(0.0);
            for row in rows {
                let start = (row * width + columns.start) * channels;
                for pixel in x[start..start + columns.len() * channels].chunks_exact(channels) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += f64::from(*value);
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = (*sum / count) as f32;
            }
        },
    );
    out
}

/// Every input pixel receives the gradient of each bin that it is in, over that bin's number of pixels.
pub(crate) fn adaptive_average_gradient(gradient: &[f32], input: [usize; 3], bins: usize) -> Vec<f32> {
    let [height, width, channels] = input;
    let images = gradient.len() / (bins * bins * channels);
    let spans = |size| -> Vec<_> { (0..bins).map(|bin| bin_span(bin, bins, size)).collect() };
    let (rows, columns) = (spans(height), spans(width));
    let mut out = vec![0.0; images * height * width * channels];
    out.par_chunks_mut(width * channels).enumerate().for_each(|(index, out)| {
        let (image, y) = (index / height, index % height);
        for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.contains(&y)) {
            for (j, column) in columns.iter().enumerate() {
                let share = 1.0 / (row.len() * column.len()) as f32;
                let bin = ((image * bins + i) * bins + j) * channels;
                let gradient = &gradient[bin..bin + channels];
                let pixels = &mut out[column.start * channels..column.end * channels];
                for pixel in pixels.chunks_exact_mut(channels) {
                    for (out, gradient) in pixel.iter_mut().zip(gradient) {
                        *out += gradient * share;
                    }
                }
            }
        }
    });
    out
}
