//! Sweeps over all elements.

use rayon::prelude::*;
use std::ops::{Add, Div, Mul, Sub};

/// Elements of a block that one thread takes at a time.
const BLOCK: usize = 1 << 15;

/// `x + bias` along the last axis.
pub(crate) fn add_bias(x: &[f32], bias: &[f32]) -> Vec<f32> {
    let mut out = x.to_vec();
    out.par_chunks_mut(rows_block(bias.len()) * bias.len()).for_each(|block| {
        for row in block.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    });
    out
}

/// `x` (N, pixels, C) times `scale` (N, C).
pub(crate) fn scale_channels(x: &[f32], scale: &[f32], images: usize) -> Vec<f32> {
    let (image, channels) = (x.len() / images, scale.len() / images);
    let mut out = x.to_vec();
    out.par_chunks_mut(image).zip(scale.par_chunks(channels)).for_each(|(image, scale)| {
        image.par_chunks_mut(rows_block(channels) * channels).for_each(|block| {
            for row in block.chunks_exact_mut(channels) {
                for (value, scale) in row.iter_mut().zip(scale) {
                    *value *= scale;
                }
            }
        });
    });
    out
}

/// Rows of `channels` elements that make a block of about [`BLOCK`] elements.
pub(crate) fn rows_block(channels: usize) -> usize {
    (BLOCK / channels).max(1)
}

/// An element of an image: f32, or f64 where it must not be rounded between the steps of an attack.
pub(crate) trait Pixel:
    Copy
    + Send
    + Sync
    + PartialOrd
    + From<f32>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The nearest f32.
    fn rounded(self) -> f32;
}

impl Pixel for f32 {
    fn rounded(self) -> f32 {
        self
    }
}

impl Pixel for f64 {
    fn rounded(self) -> f32 {
        self as f32
    }
}

/// `value`, or the nearer of the ends if it is outside.
fn limit<T: Pixel>(value: T, low: T, high: T) -> T {
    if value < low {
        low
    } else if value > high {
        high
    } else {
        value
    }
}

/// Normalised image, (N, C, H, W) to (N, H, W, C): `(x - mean) / std`, rounded to f32.
pub(crate) fn normalise<T: Pixel>(x: &[T], pixels: usize, mean: &[f32], std: &[f32]) -> Vec<f32> {
    let channels = mean.len();
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(pixels * channels).zip(x.par_chunks(pixels * channels)).for_each(|(out, x)| {
        for (channel, plane) in x.chunks_exact(pixels).enumerate() {
            let (mean, std) = (T::from(mean[channel]), T::from(std[channel]));
            for (pixel, value) in out.chunks_exact_mut(channels).zip(plane) {
                pixel[channel] = ((*value - mean) / std).rounded();
            }
        }
    });
    out
}

/// Gradient of [`normalise`]: (N, H, W, C) to (N, C, H, W), divided by `std`.
pub(crate) fn normalise_gradient(gradient: &[f32], pixels: usize, std: &[f32]) -> Vec<f32> {
    let channels = std.len();
    let mut out = vec![0.0; gradient.len()];
    out.par_chunks_mut(pixels).enumerate().for_each(|(plane, out)| {
        let (image, channel) = (plane / channels, plane % channels);
        let gradient = &gradient[image * pixels * channels..(image + 1) * pixels * channels];
        for (value, pixel) in out.iter_mut().zip(gradient.chunks_exact(channels)) {
            *value = pixel[channel] / std[channel];
        }
    });
    out
}

/// `clip01(image + step[n] * sign(gradient))` for images of `size` elements; the sign of zero is zero.
pub(crate) fn sign_step<T: Pixel>(image: &[T], gradient: &[f32], step: &[T]) -> Vec<T> {
    let size = image.len() / step.len();
    let mut out = image.to_vec();
    out.par_chunks_mut(size).zip(gradient.par_chunks(size)).zip(step).for_each(|((out, gradient), &step)| {
        for (value, &g) in out.iter_mut().zip(gradient) {
            let sign = T::from(f32::from(g > 0.0) - f32::from(g < 0.0));
            *value = limit(*value + step * sign, T::from(0.0), T::from(1.0));
        }
    });
    out
}

/// `clip01(min(max(image, origin - epsilon[n]), origin + epsilon[n]))`.
pub(crate) fn project<T: Pixel>(image: &[T], origin: &[T], epsilon: &[T]) -> Vec<T> {
    let size = image.len() / epsilon.len();
    let mut out = image.to_vec();
    out.par_chunks_mut(size).zip(origin.par_chunks(size)).zip(epsilon).for_each(
        |((out, origin), &epsilon)| {
            for (value, &origin) in out.iter_mut().zip(origin) {
                let inside = limit(*value, origin - epsilon, origin + epsilon);
                *value = limit(inside, T::from(0.0), T::from(1.0));
            }
        },
    );
    out
}

/// Sum of absolute values of each of `images` equal parts.
pub(crate) fn l1_norm(x: &[f32], images: usize) -> Vec<f32> {
    x.par_chunks(x.len() / images)
        .map(|image| {
            let blocks =
                image.chunks(4096).map(|block| f64::from(block.iter().map(|value| value.abs()).sum::<f32>()));
            blocks.sum::<f64>() as f32
        })
        .collect()
}

/// Whether there is no NaN and no infinity.
pub(crate) fn all_finite(x: &[f32]) -> bool {
    // Without a way out of a block, so that it is looked at in vectors.
    x.par_chunks(BLOCK).all(|block| block.iter().fold(true, |finite, value| finite & value.is_finite()))
}

/// `velocity = momentum * velocity + gradient + weight_decay * parameter`, in place.
pub(crate) fn momentum(
    velocity: &mut [f32],
    gradient: &[f32],
    parameter: &[f32],
    momentum: f32,
    weight_decay: f32,
) {
    velocity.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).zip(parameter.par_chunks(BLOCK)).for_each(
        |((velocity, gradient), parameter)| {
            for ((v, g), p) in velocity.iter_mut().zip(gradient).zip(parameter) {
                *v = momentum * *v + (g + weight_decay * p);
            }
        },
    );
}

/// `parameter -= learning_rate * velocity`, in place.
pub(crate) fn descend(parameter: &mut [f32], velocity: &[f32], learning_rate: f32) {
    parameter.par_chunks_mut(BLOCK).zip(velocity.par_chunks(BLOCK)).for_each(|(parameter, velocity)| {
        for (p, v) in parameter.iter_mut().zip(velocity) {
            *p -= learning_rate * v;
        }
    });
}
