//! The modes that a network runs in.

use candle_core::{Result, Tensor};
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
    /// Running statistics, tracked weights: gradients of the weights that change nothing in the
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
        match self {
            Mode::Training { .. } | Mode::FixedStatistics => weight.clone(),
            Mode::Evaluation | Mode::BatchStatistics => weight.detach(),
        }
    }

    /// The probability of dropout in this mode.
    pub(crate) fn dropout_rate(&self) -> f64 {
        match self {
            Mode::Training { dropout, .. } => *dropout,
            Mode::Evaluation | Mode::BatchStatistics | Mode::FixedStatistics => 0.0,
        }
    }

    /// `x` (N, H, W, C) after dropout: in training, whole channels are zeroed and the others scaled
    /// up.
    pub(crate) fn dropout(&mut self, x: &Tensor) -> Result<Tensor> {
        self.drop_channels(x, self.dropout_rate())
    }

    /// `x` (N, H, W, C) after dropout of single elements with probability `rate` in training.
    pub(crate) fn dropout_elements(&mut self, x: &Tensor, rate: f64) -> Result<Tensor> {
        let (images, height, width, channels) = x.dims4()?;
        let pixels = x.reshape((images * height * width, 1, 1, channels))?;
        self.drop_channels(&pixels, rate)?.reshape(x.shape())
    }

    /// `count` factors of what training drops with probability `rate`: 0, or large enough to make up
    /// for what is dropped. `None` where nothing can be dropped.
    pub(crate) fn factors(&mut self, count: usize, rate: f64) -> Option<Vec<f32>> {
        use rand::RngExt;
        let Mode::Training { random, .. } = self else { return None };
        if rate == 0.0 {
            return None;
        }
        let kept = (1.0 / (1.0 - rate)) as f32;
        Some((0..count).map(|_| if random.random::<f64>() < rate { 0.0 } else { kept }).collect())
    }

    fn drop_channels(&mut self, x: &Tensor, rate: f64) -> Result<Tensor> {
        let (images, _, _, channels) = x.dims4()?;
        match self.factors(images * channels, rate) {
            None => Ok(x.clone()),
            Some(factors) => {
                let factors = Tensor::from_vec(factors, (images, channels), x.device())?;
                robustseg_ops::scale_channels(x, &factors)
            }
        }
    }
}
