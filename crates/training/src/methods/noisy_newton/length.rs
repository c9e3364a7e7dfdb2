//! The length of a Noisy Newton step.

use candle_core::{Device, Tensor};
use robustseg_ops::l1_norm_per_image;

use super::objective::Objective;
use crate::Result;

/// The share of a region's mean gradient that is added to every region's gradient, so that no
/// length explodes where the gradient vanishes.
const TAU: f64 = 0.01;

/// How long steps are.
pub(super) struct Length {
    /// The longest step.
    pub(super) limit: f64,
    /// The curvature of the gain along the step. `None` is a line.
    pub(super) bend: Option<Curvature>,
}

/// The curvature of the gain along the step, from the last update.
///
/// Along the step of length t the gain is `G - N t + kappa t^2 / 2`, where N is the gradient's l1
/// norm. Over the length of the last steps the slope fell from 1 to the linearity c, so that kappa is
/// `(1 - c) N / before`. The length is the first zero, or the minimum if there is no zero. A
/// linearity of 1 is the line of eq. 18.
#[derive(Clone, Copy)]
pub(super) struct Curvature {
    pub(super) linearity: f64,
    /// Mean length of the last steps, above 0.
    pub(super) before: f64,
}

impl Length {
    /// One length for each image, (N, 1, 1, 1).
    pub(super) fn of_each_image(&self, objective: &Objective) -> Result<Tensor> {
        let norm = l1_norm_per_image(&objective.gradient)?;
        let length = self.of(&objective.value, &norm)?;
        Ok(length.reshape(((), 1, 1, 1))?)
    }

    /// A length for each pixel (N, 1, H, W): gain and gradient are sums over the square of `radius`
    /// around it. Regions as large as the image have the image's length, apart from [`TAU`].
    pub(super) fn of_each_region(&self, objective: &Objective, radius: usize) -> Result<Tensor> {
        let contributions = objective.contributions.as_ref().expect("requested for local lengths");
        let value = box_sums(contributions, radius)?;
        let norm = box_sums(&objective.gradient.abs()?.sum(1)?, radius)?;
        let tau = (norm.mean_keepdim((1, 2))? * TAU)?;
        Ok(self.of(&value, &norm.broadcast_add(&tau)?)?.unsqueeze(1)?)
    }

    /// The length for each gain and gradient norm, of one shape. It is 0 where the norm is 0 or the
    /// gain negative.
    pub(super) fn of(&self, gain: &Tensor, norm: &Tensor) -> Result<Tensor> {
        let vanishes = norm.eq(0_f32)?;
        let line = (gain / norm)?.relu()?;
        let length = match self.bend {
            None => line,
            Some(Curvature { linearity, before }) => {
                // kappa / N.
                let bend = (1.0 - linearity) / before;
                let root = ((&line * (-2.0 * bend))? + 1.0)?.relu()?.sqrt()?;
                let first = ((line * 2.0)? / (root + 1.0)?)?;
                // Where there is no zero, `first` lies beyond the minimum at N / kappa.
                if bend > 0.0 { first.minimum((1.0 / bend) as f32)? } else { first }
            }
        };
        let length = length.clamp(0_f32, self.limit as f32)?;
        Ok(vanishes.where_cond(&length.zeros_like()?, &length)?)
    }
}

/// The mean length of each image, (N).
pub(super) fn of_images(lengths: &Tensor) -> Result<Tensor> {
    Ok(lengths.flatten_from(1)?.mean(1)?)
}

/// For each pixel of `x` (N, H, W) the sum over the square of `radius` around it, cut at the border.
fn box_sums(x: &Tensor, radius: usize) -> Result<Tensor> {
    let (_, height, width) = x.dims3()?;
    let [rows, columns] = [height, width].map(|size| band(size, radius, x.device()));
    Ok(rows?.broadcast_matmul(&x.broadcast_matmul(&columns?)?)?)
}

/// The matrix that adds up `radius` neighbours on each side, (size, size).
fn band(size: usize, radius: usize, device: &Device) -> Result<Tensor> {
    let near = |at: usize| f32::from(u8::from((at / size).abs_diff(at % size) <= radius));
    Ok(Tensor::from_vec((0..size * size).map(near).collect(), (size, size), device)?)
}
