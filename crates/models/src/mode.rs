//! The modes that a network runs in.

use candle_core::Tensor;
use robustseg_random::{ChaCha8Rng, copy};

/// How a network runs: which statistics its batch norms use, and whether gradients reach its
/// weights.
#[derive(Debug)]
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
        random: &'a mut ChaCha8Rng,
    },
}

/// A mode with its random numbers as they were at some time.
pub(crate) enum PastMode {
    Evaluation,
    BatchStatistics,
    FixedStatistics,
    Training { dropout: f64, random: Box<ChaCha8Rng> },
}

impl PastMode {
    pub(crate) fn new(mode: &Mode<'_>) -> Self {
        match mode {
            Mode::Evaluation => Self::Evaluation,
            Mode::BatchStatistics => Self::BatchStatistics,
            Mode::FixedStatistics => Self::FixedStatistics,
            Mode::Training { dropout, random } => {
                Self::Training { dropout: *dropout, random: Box::new(copy(random)) }
            }
        }
    }

    /// Calls `run` with the mode of that time.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Mode<'_>) -> T) -> T {
        match self {
            Self::Evaluation => run(&mut Mode::Evaluation),
            Self::BatchStatistics => run(&mut Mode::BatchStatistics),
            Self::FixedStatistics => run(&mut Mode::FixedStatistics),
            Self::Training { dropout, random } => {
                run(&mut Mode::Training { dropout: *dropout, random: &mut copy(random) })
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
            Mode::Training { .. } | Mode::FixedStatistics => true,
            Mode::Evaluation | Mode::BatchStatistics => false,
        }
    }

    /// The probability of dropout in this mode.
    pub(crate) fn dropout_rate(&self) -> f64 {
        match self {
            Mode::Training { dropout, .. } => *dropout,
            Mode::Evaluation | Mode::BatchStatistics | Mode::FixedStatistics => 0.0,
        }
    }
}
