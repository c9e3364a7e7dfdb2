//! A monitor of catastrophic overfitting, in which single-step adversarial training suddenly
//! defends only against its own attack.
//!
//! The monitor occasionally takes a [`Reading`] on a few fixed training samples: scores under FGSM
//! and BIM, the loss along FGSM's step, the cosine of neighbouring gradients, and Fast Newton's
//! epsilon. It then decides whether the reading shows a [`Sign`]. `patience` consecutive readings
//! with a sign count as catastrophic overfitting; fewer may pass. Its draws are functions of seed
//! and step, and its memory is part of the saved state, so a resumed run takes the same readings as
//! an uninterrupted one. Training samples suffice, because the sudden drop also shows on them (Wong
//! et al. 2020). The validation split stays untouched.

mod config;
mod memory;
mod reading;

pub use config::{MonitorConfig, Sign, Then, Verdict};
pub(crate) use memory::Memory;
#[cfg(test)]
pub(crate) use reading::chance;
pub use reading::{Mark, Reading};
