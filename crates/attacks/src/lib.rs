//! Adversarial attacks on semantic segmentation models in candle.
//!
//! An attack changes an image a little so that a network labels its pixels wrongly. The threat model is
//! the l-infinity ball: images are f32 in `[0, 1]` of shape (N, 3, H, W), `epsilon` is the largest
//! change of a channel in the same unit, labels are u8 of shape (N, H, W) where
//! [`IGNORE_LABEL`] (255) marks a pixel without a label. Unlabelled pixels take no part in any objective.
//! Normalisation belongs inside the model; gradients are with respect to the image in `[0, 1]`.
//!
//! | attack | source |
//! |---|---|
//! | [`Fgsm`] | Goodfellow et al. 2015; eq. 3 |
//! | [`RandomFgsm`] | Wiens & Hammer 2022, sec. 4.1.2 |
//! | [`Bim`] | Kurakin et al. 2017; eq. 4 |
//! | [`FastNewton`] | Wiens & Hammer 2022, eq. 18 and 19 |
//! | [`Pgd`] | Madry et al. 2018 |
//! | [`MiFgsm`] | Dong et al. 2018 |
//! | [`SegPgd`] | Gu et al. 2022 |
//! | [`CosPgd`] | Agnihotri et al. 2024 |
//! | [`Apgd`] | Croce & Hein 2020 |
//! | [`Sea`] | Croce, Singh, Hein 2024 |
//! | [`Dag`] | Xie et al. 2017 |
//!
//! Equation numbers are those of Wiens & Hammer, *Single-step Adversarial Training for Semantic
//! Segmentation*, ICPRAM 2022.
//!
//! What an attack costs is counted by a [`Counted`] model.
//!
//! Any candle model can be attacked: give a closure from images to logits. Its weights should be
//! detached, or candle computes their gradients too. Some of candle's operations cut the gradient
//! and do not say so (see [`Model`]): [`check_gradient`] finds that out.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use robustseg_attacks::{Attack, Fgsm, channels_first};
//!
//! // A model with two classes: bright and dark.
//! let model = channels_first(|image: &Tensor| {
//!     let bright = image.sum_keepdim(1)?;
//!     Tensor::cat(&[&bright, &bright.affine(-1.0, 3.0)?], 1)
//! });
//! let image = Tensor::full(0.52_f32, (1, 3, 4, 5), &Device::Cpu)?;
//! let label = Tensor::zeros((1, 4, 5), candle_core::DType::U8, &Device::Cpu)?;
//! let mut random = robustseg_random::stream(0, "example", [0; 3]);
//! let adversarial = Fgsm { epsilon: 0.03 }.perturb(&model, &image, &label, &mut random)?;
//! let pixel = adversarial.image.flatten_all()?.to_vec1::<f32>()?[0];
//! assert!((pixel - 0.49).abs() < 1e-6); // darker, as the label says bright
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! Every function that takes tensors checks their types and shapes first and returns [`Error`].

mod apgd;
mod attack;
mod bim;
mod budget;
mod config;
mod cospgd;
mod curve;
mod dag;
mod error;
mod fast_newton;
mod fgsm;
mod gradient;
mod gradient_check;
mod input;
mod iteration;
mod mi_fgsm;
mod model;
mod pgd;
mod random_fgsm;
mod sea;
mod segpgd;
mod selection;
mod start;

pub use apgd::Apgd;
pub use attack::{Adversarial, Attack};
pub use bim::Bim;
pub use budget::{Budget, Counted};
pub use config::{
    AttackConfig, Overrides, check_alpha, check_decay, check_epsilon, check_restarts, check_steps,
};
pub use cospgd::CosPgd;
pub use curve::{bim_curve, cospgd_curve, fgsm_curve, mi_fgsm_curve, pgd_curve, segpgd_curve};
pub use dag::Dag;
pub use error::{Error, Result};
pub use fast_newton::{FastNewton, NegativeGain};
pub use fgsm::Fgsm;
pub use gradient::{InputGradient, input_gradient};
pub use gradient_check::{GradientCheck, check_gradient};
pub use mi_fgsm::MiFgsm;
pub use model::{ChannelsFirst, Model, channels_first};
pub use pgd::Pgd;
pub use random_fgsm::RandomFgsm;
pub use robustseg_ops::{Alignment, IGNORE_LABEL, PixelObjective};
pub use sea::Sea;
pub use segpgd::SegPgd;
pub use start::Start;
