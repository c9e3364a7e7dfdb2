//! The schedules of the learning rate and their registry.
//!
//! A schedule is a file here: a struct of settings, and its [`Course`]. One line in the list below
//! makes it known to specs and the schema. A warm-up multiplies every schedule
//! ([`LearningRate`](crate::LearningRate)).

mod constant;
mod cosine;
mod polynomial;
mod step;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::choice::choices;
use crate::ranges::check;

choices! {
    /// How the learning rate changes over a training.
    ///
    /// ```
    /// use robustseg_training::{Cosine, ScheduleConfig};
    ///
    /// let read: ScheduleConfig = serde_json::from_str(r#"{"cosine": {"end": 0.01}}"#)?;
    /// assert_eq!(read, Cosine { end: 0.01 }.into());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ScheduleConfig as dyn Course {
        /// Polynomial decay with the exponent `training.power`.
        Polynomial(polynomial::Polynomial),
        /// Half a period of the cosine.
        Cosine(cosine::Cosine),
        /// A fall at given epochs.
        Step(step::Step),
        /// The same learning rate throughout.
        Constant(constant::Constant),
    }
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Polynomial::default().into()
    }
}

/// What a schedule does.
pub(crate) trait Course {
    /// Refuses settings out of range in a training of `epochs`.
    fn validate(&self, epochs: usize) -> Result<()>;

    /// The factor on the learning rate.
    fn factor(&self, position: Position) -> f64;
}

/// A step of a training.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    /// The step, from 0.
    pub(crate) step: u64,
    /// Steps in total.
    pub(crate) total: u64,
    /// Epochs in total.
    pub(crate) epochs: usize,
    /// `training.power`.
    pub(crate) power: f64,
}

impl Position {
    /// The share of training done, from 0 to 1.
    fn done(&self) -> f64 {
        self.step as f64 / self.total as f64
    }
}

/// Refuses a share of the learning rate that is out of range.
fn check_end(field: &'static str, end: f64) -> Result<()> {
    check(field, end, (0.0..=1.0).contains(&end), "must be from 0 to 1, a share of the learning rate")
}
