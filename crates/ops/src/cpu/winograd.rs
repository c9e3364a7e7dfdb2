//! Convolution by a 3x3 kernel of stride 1 with a quarter of the multiplications: F(4x4, 3x3) of
//! Winograd (Lavin & Gray 2016, *Fast Algorithms for Convolutional Neural Networks*).
//!
//! Tiles of 6x6 inputs and the 3x3 kernels are evaluated at 36 points, multiplied there, as 36
//! matrix products over the channels, and interpolated to tiles of 4x4 outputs. A dilated
//! convolution is one plain convolution for each remainder of row and column by the dilation.
//!
//! Products are f32 in every arithmetic: interpolation would make the rounding of bf16 five times
//! larger.

use super::cook_toom::{
    Evaluate, EvaluateKernel, EvaluateKernelTransposed, Interpolate, InterpolateTransposed, Linear, SIDE,
    TILE, Transform,
};
use super::element::{Element, Numbers, round};
use super::matrix::{Matrix, multiply};
use super::transpose::transpose;
use super::vectors::wide;
use super::workspace::{self, Workspace};
use crate::geometry::Geometry;
use pulp::Arch;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Evaluations of a tile.
const POINTS: usize = SIDE * SIDE;
/// Input channels that are evaluated at a time.
const SEGMENT: usize = 256;
/// Output channels that are computed at a time. More would take memory and gain nothing.
const OUTPUTS: usize = 512;
/// Channels come in multiples of this, the widest vector's elements.
const LANES: usize = 16;
/// Tiles that are multiplied at a time: few enough for the caches, enough to be worth reading the
/// weights.
const GROUP: usize = 512;

/// Whether the transforms are worth their time: stride 1, padding that keeps the size, enough
/// channels, and tiles that are mostly inside the map, which those of a dilation of nearly the map's size
/// are not.
pub(super) fn suits(g: &Geometry) -> bool {
    g.kernel == [3, 3]
        && g.stride == 1
        && g.padding == g.dilation
        && [g.input[2], g.output[2]].iter().all(|channels| channels % LANES == 0 && *channels >= 64)
        && Tiling::new(g).is_filled()
}

/// How a map is cut into tiles: bands of `TILE * dilation` rows, in each a tile for every remainder
/// and column.
struct Tiling {
    size: [usize; 2],
    dilation: usize,
    bands: usize,
    columns: usize,
}

impl Tiling {
    fn new(g: &Geometry) -> Self {
        let [height, width, _] = g.input;
        let reach = TILE * g.dilation;
        let (bands, columns) = (height.div_ceil(reach), width.div_ceil(reach));
        Self { size: [height, width], dilation: g.dilation, bands, columns }
    }

    /// Whether the tiles save at least three eighths of the plain convolution's multiplications, which
    /// pays for the transforms. At best they save three quarters. The rest of the map's last tiles is
    /// outside it.
    fn is_filled(&self) -> bool {
        let pixels = self.size[0] * self.size[1];
        8 * POINTS * self.bands * self.tiles() <= 5 * 9 * pixels
    }

    /// Tiles of a band.
    fn tiles(&self) -> usize {
        self.dilation * self.dilation * self.columns
    }

    /// Bands, of all images, that are computed at a time.
    fn group(&self) -> usize {
        GROUP.div_ceil(self.tiles())
    }

    /// The image and the pixels of tile `tile` of band `band` of all images, as offsets into a map
    /// of `channels`, from `border` pixels above and left of the tile's outputs on. Pixels outside
    /// the map have no offset.
    fn pixels<const N: usize>(
        &self,
        band: usize,
        tile: usize,
        border: usize,
        channels: usize,
    ) -> [[Option<usize>; N]; N] {
        let [height, width] = self.size;
        let at = |index: usize, remainder: usize, step: usize, size: usize| {
            let pixel =
                (remainder + (index * TILE + step) * self.dilation).checked_sub(border * self.dilation)?;
            (pixel < size).then_some(pixel)
        };
        let (phase, column) = (tile / self.columns, tile % self.columns);
        let image = band / self.bands * height;
        std::array::from_fn(|i| {
            let row = at(band % self.bands, phase / self.dilation, i, height);
            std::array::from_fn(|j| {
                let column = at(column, phase % self.dilation, j, width)?;
                Some(((image + row?) * width + column) * channels)
            })
        })
    }
}

/// `0..count` in parts of `size`, the last one smaller.
fn parts(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(size).map(move |start| start..(start + size).min(count))
}

/// The offsets of `N` x `N` consecutive pixels, `stride` apart.
fn in_line<const N: usize>(first: usize, stride: usize) -> [[Option<usize>; N]; N] {
    std::array::from_fn(|i| std::array::from_fn(|j| Some(first + (i * N + j) * stride)))
}

/// Elements from one tile's (or channel's) evaluations to the next one's: the evaluations and a
/// cache line, without which all tiles would share a few of the cache's sets.
fn stride(channels: usize) -> usize {
    POINTS * channels + LANES
}

/// The evaluations of `channels` of `source`'s tiles, one tile after the other, each (36,
/// channels).
fn evaluate<L: Linear<I, SIDE>, T: Element, const I: usize>(
    tiling: &Tiling,
    bands: &Range<usize>,
    border: usize,
    source: &[T],
    all_channels: usize,
    channels: &Range<usize>,
    out: &mut [f32],
) {
    let (arch, count) = (Arch::new(), channels.len());
    out.par_chunks_mut(stride(count)).enumerate().for_each_init(Vec::new, |buffer, (index, out)| {
        let (band, tile) = (bands.start + index / tiling.tiles(), index % tiling.tiles());
        let from = tiling.pixels(band, tile, border, all_channels);
        let from = from.map(|row| row.map(|pixel| pixel.map(|pixel| pixel + channels.start)));
        let (source, from) = wide_pixels(source, from, count, buffer);
        let (to, linear) = (in_line(0, count), PhantomData::<L>);
        arch.dispatch(Transform { source, from, target: out, to, channels: count, linear });
    });
}

/// `source` and the offsets of its pixels, in f32: itself, or a copy of `channels` of each pixel in
/// `buffer`.
fn wide_pixels<'a, T: Element, const N: usize>(
    source: &'a [T],
    from: [[Option<usize>; N]; N],
    channels: usize,
    buffer: &'a mut Vec<f32>,
) -> (&'a [f32], [[Option<usize>; N]; N]) {
    if let Numbers::F32(source) = T::numbers(source) {
        return (source, from);
    }
    buffer.resize(N * N * channels, 0.0);
    wide(|| {
        for (copy, offset) in buffer.chunks_exact_mut(channels).zip(from.iter().flatten()) {
            if let Some(offset) = offset {
                for (copy, value) in copy.iter_mut().zip(&source[*offset..]) {
                    *copy = value.wide();
                }
            }
        }
    });
    let copied = in_line::<N>(0, channels);
    let place = |i: usize, j: usize| from[i][j].and(copied[i][j]);
    (buffer, std::array::from_fn(|i| std::array::from_fn(|j| place(i, j))))
}

/// Convolution of `source` (N, H, W, inputs of `kernels`).
pub(super) fn convolve<T: Element>(g: &Geometry, source: &[T], kernels: &Kernels<'_>) -> Vec<T> {
    let tiling = Tiling::new(g);
    let (inputs, outputs) = (kernels.inputs, kernels.outputs);
    let [height, width, _] = g.input;
    let (band_size, arch) = (TILE * g.dilation * width * outputs, Arch::new());
    let mut out = vec![T::default(); g.batch * height * width * outputs];
    // Bands do not reach across images.
    let mut targets: Vec<&mut [T]> = out
        .chunks_exact_mut(height * width * outputs)
        .flat_map(|image| image.chunks_mut(band_size))
        .collect();
    for (group, targets) in targets.chunks_mut(tiling.group()).enumerate() {
        let first = group * tiling.group();
        let bands = first..first + targets.len();
        let tiles = bands.len() * tiling.tiles();
        // The evaluations of each segment of inputs, which later parts of the outputs read again. With one
        // part, a segment's evaluations make room for the next one's.
        let mut evaluations = Vec::new();
        for part in parts(outputs, OUTPUTS) {
            let count_out = part.len();
            let mut products = workspace::take(POINTS * tiles * count_out);
            for (index, segment) in parts(inputs, SEGMENT).enumerate() {
                let count = segment.len();
                let place = if outputs <= OUTPUTS { 0 } else { index };
                if part.start == 0 {
                    evaluations.truncate(place);
                    let mut maps = workspace::take(tiles * stride(count));
                    evaluate::<Evaluate, T, SIDE>(&tiling, &bands, 1, source, inputs, &segment, &mut maps);
                    evaluations.push(maps);
                }
                let maps = &evaluations[place];
                let weights = kernels.evaluate(&segment, &part);
                products.par_chunks_mut(tiles * count_out).enumerate().for_each(|(point, out)| {
                    let maps = Matrix::row_major(&maps[point * count..], tiles, count, stride(count));
                    let weights = &weights[point * count_out..];
                    let weights = Matrix::row_major(weights, count, count_out, stride(count_out));
                    multiply(out, count_out, maps, weights, index > 0);
                });
            }
            targets.par_iter_mut().enumerate().for_each_init(Vec::new, |buffer, (index, target)| {
                let band = first + index;
                // Offsets within the band, not the map.
                let start = (band / tiling.bands * height + band % tiling.bands * TILE * g.dilation)
                    * width
                    * outputs;
                for tile in 0..tiling.tiles() {
                    let from = in_line((index * tiling.tiles() + tile) * count_out, tiles * count_out);
                    let to = tiling
                        .pixels(band, tile, 0, outputs)
                        .map(|row| row.map(|pixel| Some(pixel? - start + part.start)));
                    let (source, linear) = (&products[..], PhantomData::<Interpolate>);
                    if let Some(target) = T::f32_mut(target) {
                        arch.dispatch(Transform { source, from, target, to, channels: count_out, linear });
                        continue;
                    }
                    buffer.resize(TILE * TILE * count_out, 0.0);
                    let in_buffer = in_line(0, count_out);
                    let transform = Transform {
                        source,
                        from,
                        target: buffer,
                        to: in_buffer,
                        channels: count_out,
                        linear,
                    };
                    arch.dispatch(transform);
                    for (values, to) in buffer.chunks_exact(count_out).zip(to.iter().flatten()) {
                        if let Some(to) = to {
                            round(&mut target[*to..][..count_out], values);
                        }
                    }
                }
            });
        }
    }
    out
}

/// The kernels of a convolution with 3x3 weights (O, 3, 3, I), or of its input's gradient.
pub(super) struct Kernels<'a> {
    pub(super) weight: &'a [f32],
    /// Channels of the convolved map, and of the result.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Whether these are the kernels of the gradient: with inputs and outputs exchanged, and the taps
    /// read from the last to the first.
    pub(super) backwards: bool,
}

impl Kernels<'_> {
    /// The evaluations of the kernels from each of `inputs` to `outputs`: (inputs, 36, outputs), the
    /// inputs [`stride`] apart.
    fn evaluate(&self, inputs: &Range<usize>, outputs: &Range<usize>) -> Workspace {
        let count = outputs.len();
        let (arch, mut evaluations) = (Arch::new(), workspace::take(inputs.len() * stride(count)));
        let groups = evaluations.par_chunks_mut(LANES * stride(count)).enumerate();
        groups.for_each_init(Vec::new, |turned, (group, targets)| {
            let first = inputs.start + group * LANES;
            if !self.backwards {
                self.turn(first, outputs, turned);
            }
            for (index, target) in targets.chunks_exact_mut(stride(count)).enumerate() {
                let offset = |tap| {
                    if self.backwards {
                        ((first + index) * 9 + 8 - tap) * self.outputs + outputs.start
                    } else {
                        (tap * LANES + index) * count
                    }
                };
                let from = std::array::from_fn(|i| std::array::from_fn(|j| Some(offset(3 * i + j))));
                let source = if self.backwards { self.weight } else { &turned[..] };
                let (to, linear) = (in_line(0, count), PhantomData::<EvaluateKernel>);
                arch.dispatch(Transform { source, from, target, to, channels: count, linear });
            }
        });
        evaluations
    }

    /// Writes the weights from [`LANES`] inputs to `outputs` to `turned`, (9, inputs, outputs), because
    /// the transforms read contiguous outputs.
    fn turn(&self, first_input: usize, outputs: &Range<usize>, turned: &mut Vec<f32>) {
        let (count, patch) = (outputs.len(), 9 * self.inputs);
        turned.resize(9 * LANES * count, 0.0);
        for (tap, turned) in turned.chunks_exact_mut(LANES * count).enumerate() {
            let start = outputs.start * patch + tap * self.inputs + first_input;
            transpose(&self.weight[start..], patch, count, turned);
        }
    }
}

/// Gradient of the weights (O, 3, 3, I).
pub(super) fn weight_gradient<T: Element>(g: &Geometry, x: &[T], gradient: &[T]) -> Vec<f32> {
    let tiling = Tiling::new(g);
    let (inputs, outputs, arch) = (g.input[2], g.output[2], Arch::new());
    let all = 0..g.batch * tiling.bands;
    let tiles = all.len() * tiling.tiles();
    let mut slopes = workspace::take(tiles * stride(outputs));
    evaluate::<InterpolateTransposed, T, TILE>(
        &tiling,
        &all,
        0,
        gradient,
        outputs,
        &(0..outputs),
        &mut slopes,
    );
    let mut out = vec![0.0; outputs * 9 * inputs];
    for segment in parts(inputs, SEGMENT) {
        let (start, count) = (segment.start, segment.len());
        let mut maps = workspace::take(tiles * stride(count));
        evaluate::<Evaluate, T, SIDE>(&tiling, &all, 1, x, inputs, &segment, &mut maps);
        let mut products = workspace::take(POINTS * outputs * count);
        products.par_chunks_mut(outputs * count).enumerate().for_each(|(point, out)| {
            let slopes = Matrix::row_major(&slopes[point * outputs..], tiles, outputs, stride(outputs));
            let maps = Matrix::row_major(&maps[point * count..], tiles, count, stride(count));
            multiply(out, count, slopes.transposed(), maps, false);
        });
        out.par_chunks_mut(9 * inputs).enumerate().for_each(|(output, target)| {
            let from = in_line(output * count, outputs * count);
            let (to, linear) = (in_line(start, inputs), PhantomData::<EvaluateKernelTransposed>);
            arch.dispatch(Transform { source: &products, from, target, to, channels: count, linear });
        });
    }
    out
}
