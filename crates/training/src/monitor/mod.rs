//! A monitor of catastrophic overfitting: single-step adversarial training that suddenly defends against its own attack
//! and no other.
//!
//! Now and then it takes a [`Reading`] on a few fixed training samples: scores under FGSM and BIM, the loss along FGSM's step,
//! the cosine of neighbouring gradients, Fast Newton's epsilon. It then decides whether the reading shows a [`Sign`].
//! `patience` readings in a row with a sign are catastrophic overfitting; fewer may pass. Its draws are functions of seed and
//! step, and its memory is part of the saved state, so a resumed run takes the same readings as an uninterrupted one. Training
//! samples suffice: the sudden drop shows on them as well (Wong et al. 2020), and the validation split stays untouched.

mod config;
mod memory;
mod reading;

pub use config::{MonitorConfig, Sign, Then, Verdict};
pub(crate) use memory::Memory;
#[cfg(test)]
pub(crate) use reading::chance;
pub use reading::{Mark, Reading};
