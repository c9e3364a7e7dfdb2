//! The modes that a network runs in.

use candle_core::Tensor;
use robustseg_random::ChaCha8Rng;

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
