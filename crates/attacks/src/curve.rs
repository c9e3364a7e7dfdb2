//! Attacks at several epsilons at once, for robustness curves.
//!
//! The images are the same, bit for bit, as those of one attack after the other; only the gradients that
//! they have in common are computed once.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, sign_step};

use crate::iteration::Iteration;
use crate::{Model, Result, bim, check_epsilon, cospgd, input, input_gradient, segpgd};

/// [`Fgsm`](crate::Fgsm) at each of `epsilons`: one gradient for all of them, as its sign does not depend on
/// epsilon. Images (N, 3, H, W) in the order of `epsilons`.
pub fn fgsm_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    epsilons: &[f64],
) -> Result<Vec<Tensor>> {
    epsilons.iter().try_for_each(|&epsilon| check_epsilon(epsilon))?;
    let count = input::check(image, label)?;
    let gradient = input_gradient(model, image, label, PixelObjective::CrossEntropy)?.gradient;
    let image = image.detach();
    epsilons
        .iter()
        .map(|&epsilon| {
            let step = Tensor::full(epsilon as f32, count, image.device())?;
            Ok(sign_step(&image, &gradient, &step)?)
        })
        .collect()
}

/// [`Bim`](crate::Bim) at each of `epsilons`; paths share their gradients until the smaller ball's projection
/// parts them. Images (N, 3, H, W) in the order of `epsilons`.
pub fn bim_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    alpha: f64,
    steps: usize,
    epsilons: &[f64],
) -> Result<Vec<Tensor>> {
    Iteration { alpha, steps, objective: bim::objective }.curve(model, image, label, epsilons)
}

/// [`SegPgd`](crate::SegPgd) at each of `epsilons`, shared as in [`bim_curve`].
pub fn segpgd_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    alpha: f64,
    steps: usize,
    epsilons: &[f64],
) -> Result<Vec<Tensor>> {
    Iteration { alpha, steps, objective: segpgd::objective }.curve(model, image, label, epsilons)
}

/// [`CosPgd`](crate::CosPgd) at each of `epsilons`, shared as in [`bim_curve`].
pub fn cospgd_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    alpha: f64,
    steps: usize,
    epsilons: &[f64],
) -> Result<Vec<Tensor>> {
    Iteration { alpha, steps, objective: cospgd::objective }.curve(model, image, label, epsilons)
}
