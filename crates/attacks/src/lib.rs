//! Adversarial attacks on semantic segmentation models in candle.
//!
//! An attack slightly changes an image so that a network labels its pixels wrongly. The threat
//! model is the l-infinity ball, or with [`Norm::L2`] the l2 ball. Images are f32 in `[0, 1]` of
//! shape (N, 3, H, W), and `epsilon` is the largest change of a channel in the same unit. Labels are
//! u8 of shape (N, H, W). [`IGNORE_LABEL`] (255) marks pixels without a label, which take no
//! part in any objective.
//! Normalisation belongs inside the model: gradients are with respect to the image in `[0, 1]`.
//!
//! | attack | source |
//! |---|---|
//! | [`Fgsm`] | Goodfellow et al. 2015; eq. 3 |
//! | [`RandomFgsm`] | Wiens & Hammer 2022, sec. 4.1.2 |
//! | [`Bim`] | Kurakin et al. 2017; eq. 4 |
//! | [`FastNewton`] | Wiens & Hammer 2022, eq. 18 and 19 |
//! | [`Pgd`] | Madry et al. 2018 |
//! | [`MiFgsm`] | Dong et al. 2018 |
//! | [`SegFgsm`], [`SegPgd`] | Gu et al. 2022 |
//! | [`CosPgd`] | Agnihotri et al. 2024 |
//! | [`TsallisPgd`], [`TsallisApgd`] | TsallisPGD, IJCNN 2026 |
//! | [`Padam`] | Halmosi & Jelasity 2024 |
//! | [`Apgd`] | Croce & Hein 2020 |
//! | [`Sea`] | Croce, Singh, Hein 2024 |
//! | [`Dag`] | Xie et al. 2017 |
//! | [`AlmaProx`] | Rony, Pesquet, Ben Ayed 2023 |
//!
//! Equation numbers are those of Wiens & Hammer, *Single-step Adversarial Training for Semantic
//! Segmentation*, ICPRAM 2022.
//!
//! Epsilon is an argument of an attack, not a setting, so a robustness curve is one call with a
//! list of epsilons. A [`Counted`] model measures the cost of an attack.
//!
//! Any candle model can be attacked through a closure from images to logits. Detach its weights, or
//! candle computes their gradients too. Some operations of candle silently cut the gradient (see
//! [`Model`]). [`check_gradient`] detects this.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use robustseg_attacks::{Attack, Case, Fgsm, channels_first};
//!
//! // A model with two classes: bright and dark.
//! let model = channels_first(|image: &Tensor| {
//!     let bright = image.sum_keepdim(1)?;
//!     Tensor::cat(&[&bright, &bright.affine(-1.0, 3.0)?], 1)
//! });
//! let image = Tensor::full(0.52_f32, (1, 3, 4, 5), &Device::Cpu)?;
//! let label = Tensor::zeros((1, 4, 5), candle_core::DType::U8, &Device::Cpu)?;
//! let mut random = robustseg_random::stream(0, "example", [0; 3]);
//! let case = Case::new(&model, &image, &label)?;
//! let adversarial = Fgsm {}.perturb(&case, 0.03, &mut random)?;
//! let pixel = adversarial.image.flatten_all()?.to_vec1::<f32>()?[0];
//! assert!((pixel - 0.49).abs() < 1e-6); // darker, as the label says bright
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To add an attack, write one file in `src/attacks` and add one line to its registry. [`attacks`],
//! [`AttackConfig`] and [`CurveConfig`] read the registry.
//!
//! # Errors
//!
//! Every function that takes tensors first checks their types and shapes and returns [`Error`]. A
//! [`Case`] is checked when it is created.

mod adam;
mod attack;
mod attacks;
mod case;
mod climb;
mod config;
mod cost;
mod curve_config;
mod epsilon;
mod error;
mod gradient;
mod gradient_check;
mod iteration;
mod lagrangian;
mod margin;
mod minimal;
mod model;
mod norm;
mod proximal;
mod ranges;
mod read;
#[cfg(feature = "schema")]
mod schema;
mod selection;
mod settings;
mod shrinking;
mod start;
mod tsallis;

/// The candle whose tensors and devices this crate takes and gives.
pub use candle_core as candle;

pub use attack::{Adversarial, Attack, Candidates, CurveDefaults};
pub use attacks::{
    AdamObjective, AlmaProx, Apgd, Bim, CosPgd, Dag, FastNewton, Fgsm, MiFgsm, NegativeGain, Padam, Pgd,
    RandomFgsm, Sea, SegFgsm, SegPgd, TsallisApgd, TsallisPgd, attacks, completed, title_of,
};
pub use case::Case;
pub use config::AttackConfig;
pub use cost::{Cost, Counted};
pub use curve_config::CurveConfig;
pub use epsilon::{EpsilonRole, check_epsilon, check_radius};
pub use error::{Error, Result};
pub use gradient::{InputGradient, gradient_of, input_gradient};
pub use gradient_check::{GradientCheck, check_gradient};
pub use model::{ChannelsFirst, Model, OnModel, channels_first, repeated};
pub use norm::Norm;
pub use ranges::{check_alpha, check_decay, check_restarts, check_share, check_steps};
pub use robustseg_ops::{Alignment, IGNORE_LABEL, Pass, PixelObjective};
pub use settings::{Described, Settings};
pub use start::Start;
