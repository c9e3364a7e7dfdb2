//! In which way a network is run.

use candle_core::{Result, Tensor};
use robustseg_random::ChaCha8Rng;

/// Where batch norm takes its statistics from and whether weights take part in the gradient.
#[derive(Debug)]
pub enum Pass<'a> {
    /// Running statistics, weights detached: evaluation, and attack gradients.
    Evaluation,
    /// Batch statistics, running ones left alone, weights detached: attack gradients in training mode.
    BatchStatistics,
    /// Running statistics, weights tracked: gradients of weights that leave the network as it is.
    FixedStatistics,
    /// Batch statistics, running ones updated, weights tracked, channel dropout behind the head.
    Training {
        /// Probability that a channel is dropped, in `[0, 1)`.
        dropout: f64,
        /// What decides which channels are dropped.
        random: &'a mut ChaCha8Rng,
    },
}

impl Pass<'_> {
    /// `weight` as this pass uses it: tracked in training, else detached, so that its gradient is not computed.
    pub(crate) fn weight(&self, weight: &Tensor) -> Tensor {
        match self {
            Pass::Training { .. } | Pass::FixedStatistics => weight.clone(),
            Pass::Evaluation | Pass::BatchStatistics => weight.detach(),
        }
    }

    /// `x` (N, H, W, C) with whole channels dropped and the others scaled up, in training.
    pub(crate) fn dropout(&mut self, x: &Tensor) -> Result<Tensor> {
        use rand::RngExt;
        let Pass::Training { dropout, random } = self else {
            return Ok(x.clone());
        };
        if *dropout == 0.0 {
            return Ok(x.clone());
        }
        let (images, _, _, channels) = x.dims4()?;
        let kept = (1.0 / (1.0 - *dropout)) as f32;
        let scale: Vec<f32> = (0..images * channels)
            .map(|_| if random.random::<f64>() < *dropout { 0.0 } else { kept })
            .collect();
        robustseg_ops::scale_channels(x, &Tensor::from_vec(scale, (images, channels), x.device())?)
    }
}
