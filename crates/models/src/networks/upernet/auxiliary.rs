//! The auxiliary head, which only a training uses.

use super::unit::Unit;
use crate::run::Run;
use crate::transformer_layer::BiasedConvolution;
use crate::variables::Variables;
use candle_core::{Result, Tensor};

/// A 3x3 convolution of the third map, norm, `ReLU`, dropout of whole channels in training, and a
/// classifier of each pixel.
pub(super) struct Auxiliary {
    unit: Unit,
    classifier: BiasedConvolution,
    channels: usize,
    /// The weight of the head's loss.
    pub(super) weight: f64,
}

impl Auxiliary {
    /// A head with half of the `main` head's channels, or nothing if `weight` is 0.
    pub(super) fn new(
        weight: f64,
        [inputs, main, outputs]: [usize; 3],
        variables: &Variables<'_>,
    ) -> Result<Option<Self>> {
        if weight == 0.0 {
            return Ok(None);
        }
        let (variables, channels) = (variables.at("auxiliary_head"), main.div_ceil(2));
        Ok(Some(Self {
            unit: Unit::new([inputs, channels], 3, &variables.at("convs.0"))?,
            classifier: BiasedConvolution::linear([channels, outputs], &variables.at("classifier"))?,
            channels,
            weight,
        }))
    }

    pub(super) fn forward(&self, x: &Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let x = self.unit.forward(x, run)?;
        let x = run.dropout(&x)?;
        self.classifier.forward_wide(&x, run)
    }

    /// Numbers that a forward pass keeps for a third map of `size` (height, width): the map before
    /// and after its norm.
    pub(super) fn kept(&self, [height, width]: [usize; 2]) -> u64 {
        2 * (height * width) as u64 * self.channels as u64
    }
}
