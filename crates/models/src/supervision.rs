//! Deep supervision (Zhao et al. 2017, section 3.3): an auxiliary head on the third stage, which
//! only a training uses.

use crate::convolution_head::{ConvolutionHead, Dropout, HeadShape};
use crate::layers::Heads;
use crate::run::Run;
use crate::variables::Variables;
use crate::{Error, Result};
use candle_core::Tensor;

/// An auxiliary head and the weight of its loss.
pub(crate) struct Supervision {
    head: ConvolutionHead,
    pub(crate) weight: f64,
    middle: usize,
}

impl Supervision {
    /// A head that reads a third stage of `inputs` channels, or nothing if `weight` is 0. Its
    /// variables are `supervision.head.*` and `supervision.classifier.*`.
    pub(crate) fn new(
        weight: f64,
        inputs: usize,
        kernel: usize,
        dropout: Dropout,
        heads: &Heads<'_>,
        variables: &Variables<'_>,
    ) -> candle_core::Result<Option<Self>> {
        if weight == 0.0 {
            return Ok(None);
        }
        let middle = inputs / 4;
        let shape = HeadShape { inputs, middle, kernel, dropout };
        let head = ConvolutionHead::new(shape, heads.classes, &variables.at("supervision"))?;
        Ok(Some(Self { head, weight, middle }))
    }

    /// Logits (N, h, w, classes) of the third stage's map.
    pub(crate) fn forward(&self, third: &Tensor, run: &mut Run<'_, '_>) -> candle_core::Result<Tensor> {
        self.head.forward(third, run)
    }

    /// Channels of maps that a forward pass keeps.
    pub(crate) fn kept(&self) -> u64 {
        2 * self.middle as u64
    }
}

/// Refuses the weight of an auxiliary loss that is not 0 to 10.
pub(crate) fn validate(weight: f64) -> Result<()> {
    if (0.0..=10.0).contains(&weight) {
        return Ok(());
    }
    Err(Error::Setting { field: "auxiliary_loss", reason: format!("must be 0 to 10, found {weight}") })
}
