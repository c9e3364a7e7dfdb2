//! Attacks at several epsilons at once, for robustness curves.
//!
//! The images are the same, bit for bit, as those of one attack after the other; only the gradients that
//! they have in common are computed once.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, sign_step};
use robustseg_random::ChaCha8Rng;

use crate::{
    CosPgd, MiFgsm, Model, Pgd, Result, SegPgd, bim, check_epsilon, cospgd, input, input_gradient, mi_fgsm,
    segpgd,
};

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
    bim::iteration(alpha, steps).curve(model, image, label, epsilons, None)
}

/// [`SegPgd`] with the settings of `attack` at each of `epsilons` (its own is not used). From the image, paths are shared as in
/// [`bim_curve`]; a random start is the same point of the ball at every epsilon, and nothing is shared.
pub fn segpgd_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    attack: SegPgd,
    epsilons: &[f64],
    random: &mut ChaCha8Rng,
) -> Result<Vec<Tensor>> {
    let SegPgd { alpha, steps, start, .. } = attack;
    segpgd::iteration(alpha, steps).curve_from(start, model, image, label, epsilons, random)
}

/// [`CosPgd`] with the settings of `attack` at each of `epsilons` (its own is not used). From the image, paths are shared as in
/// [`bim_curve`]; a random start is the same point of the ball at every epsilon, and nothing is shared.
pub fn cospgd_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    attack: CosPgd,
    epsilons: &[f64],
    random: &mut ChaCha8Rng,
) -> Result<Vec<Tensor>> {
    let CosPgd { alpha, steps, start, .. } = attack;
    cospgd::iteration(alpha, steps).curve_from(start, model, image, label, epsilons, random)
}

/// [`MiFgsm`] with the settings of `attack` at each of `epsilons` (its own is not used), shared as in [`bim_curve`].
pub fn mi_fgsm_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    attack: MiFgsm,
    epsilons: &[f64],
) -> Result<Vec<Tensor>> {
    let MiFgsm { alpha, steps, decay, .. } = attack;
    mi_fgsm::iteration(alpha, steps, decay)?.curve(model, image, label, epsilons, None)
}

/// [`Pgd`] with the settings of `attack` at each of `epsilons` (its own is not used): for each of them the images from
/// all starts. A start is the same point of the ball at every epsilon.
pub fn pgd_curve(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    attack: Pgd,
    epsilons: &[f64],
    random: &mut ChaCha8Rng,
) -> Result<Vec<Vec<Tensor>>> {
    attack.starts(model, image, label, epsilons, random)
}
