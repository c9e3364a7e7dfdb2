//! The modes that a network runs in.

use crate::drawn::Drawn;
use candle_core::{Result, Tensor};
use robustseg_random::Rng;
use std::fmt;

/// How a network runs: which statistics its batch norms use, and whether gradients reach its
/// weights.
pub enum Mode<'a> {
    /// Running statistics, detached weights: evaluation, and gradients of the image.
    Evaluation,
    /// Statistics of the batch, running ones unchanged, detached weights: gradients of the image
    /// with the norm statistics of training.
    BatchStatistics,
    /// Running statistics, tracked weights: gradients of weights that change nothing in the
    /// network.
    FixedStatistics,
    /// Statistics of the batch, running ones updated, tracked weights, and dropout before the
    /// classifier: of whole channels, or of single elements where the network's authors do so.
    Training {
        /// Probability that a channel or an element is dropped, in `[0, 1)`.
        dropout: f64,
        /// Decides what is dropped.
        random: &'a mut dyn Rng,
    },
    /// [`Mode::Training`] with random numbers that were drawn before, for passes that a GPU repeats.
    Repeated {
        /// As in [`Mode::Training`].
        dropout: f64,
        /// Decide what is dropped.
        uniforms: Uniforms,
    },
}

/// Numbers in `[0, 1)`, f64, on the device of the network, from which a pass takes what it needs.
#[derive(Clone, Debug)]
pub struct Uniforms {
    all: Tensor,
    taken: usize,
}

impl Uniforms {
    /// These numbers, a tensor of one axis.
    pub fn new(all: Tensor) -> Self {
        Self { all, taken: 0 }
    }

    /// The next `count` of them.
    pub(crate) fn take(&mut self, count: usize) -> Result<Tensor> {
        self.taken += count;
        self.all.narrow(0, self.taken - count, count)
    }
}

/// A mode that a part of the network ran in, with what it drew.
pub(crate) enum PastMode {
    Evaluation,
    BatchStatistics,
    FixedStatistics,
    Training { dropout: f64, drawn: Drawn },
    Repeated { dropout: f64, uniforms: Uniforms },
}

impl PastMode {
    /// `mode`, in which `drawn` is drawn.
    pub(crate) fn new(mode: &Mode<'_>, drawn: &Drawn) -> Self {
        match mode {
            Mode::Evaluation => Self::Evaluation,
            Mode::BatchStatistics => Self::BatchStatistics,
            Mode::FixedStatistics => Self::FixedStatistics,
            Mode::Training { dropout, .. } => Self::Training { dropout: *dropout, drawn: drawn.clone() },
            Mode::Repeated { dropout, uniforms } => {
                Self::Repeated { dropout: *dropout, uniforms: uniforms.clone() }
            }
        }
    }

    /// Calls `run` with this mode, which draws the same numbers again.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Mode<'_>) -> T) -> T {
        match self {
            Self::Evaluation => run(&mut Mode::Evaluation),
            Self::BatchStatistics => run(&mut Mode::BatchStatistics),
            Self::FixedStatistics => run(&mut Mode::FixedStatistics),
            Self::Training { dropout, drawn } => {
                run(&mut Mode::Training { dropout: *dropout, random: &mut drawn.again() })
            }
            Self::Repeated { dropout, uniforms } => {
                run(&mut Mode::Repeated { dropout: *dropout, uniforms: uniforms.clone() })
            }
        }
    }
}

impl fmt::Debug for Mode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluation => f.write_str("Evaluation"),
            Self::BatchStatistics => f.write_str("BatchStatistics"),
            Self::FixedStatistics => f.write_str("FixedStatistics"),
            Self::Training { dropout, .. } => {
                f.debug_struct("Training").field("dropout", dropout).finish_non_exhaustive()
            }
            Self::Repeated { dropout, .. } => {
                f.debug_struct("Repeated").field("dropout", dropout).finish_non_exhaustive()
            }
        }
    }
}

impl Mode<'_> {
    /// `weight` as this mode uses it: tracked, or detached so that its gradient is not computed.
    pub(crate) fn weight(&self, weight: &Tensor) -> Tensor {
        if self.tracks_weights() { weight.clone() } else { weight.detach() }
    }

    /// Whether gradients reach the weights.
    pub(crate) fn tracks_weights(&self) -> bool {
        match self {
            Mode::Training { .. } | Mode::Repeated { .. } | Mode::FixedStatistics => true,
            Mode::Evaluation | Mode::BatchStatistics => false,
        }
    }

    /// The probability of dropout in this mode.
    pub(crate) fn dropout_rate(&self) -> f64 {
        match self {
            Mode::Training { dropout, .. } | Mode::Repeated { dropout, .. } => *dropout,
            Mode::Evaluation | Mode::BatchStatistics | Mode::FixedStatistics => 0.0,
        }
    }
}
