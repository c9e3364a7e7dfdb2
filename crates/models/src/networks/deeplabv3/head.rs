//! The heads of the variants.

use super::aspp::BRANCHES;
use crate::classifier::Classifier;
use crate::convolution_head::{ConvolutionHead, Dropout, HeadShape};
use crate::pooled::{Pooled, PooledConvolution};
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::Alignment;

/// The probability with which torchvision drops an element of the projected map in a training that
/// has dropout at all.
const PROJECTION_DROPOUT: f64 = 0.5;

/// A 1x1 convolution that reads all branches of the pyramid, each of `channels`.
fn projection(channels: usize, alignment: Alignment, variables: &Variables<'_>) -> Result<PooledConvolution> {
    PooledConvolution::new([BRANCHES * channels, channels], channels, 1, &[1], alignment, variables)
}

/// All heads of a network: the main one and the branches.
pub(super) enum DeepLabHeads {
    /// One projection with dropout of elements; a 3x3 convolution and a classifier in each head.
    Torchvision { projection: PooledConvolution, heads: Vec<ConvolutionHead> },
    /// A projection, dropout of channels and a classifier in each head.
    DdcAt(Vec<(PooledConvolution, Classifier)>),
}

impl DeepLabHeads {
    /// torchvision's: `aspp.project.{conv,norm}.*`, and in each of `places`
    /// `head.{conv,norm}.*` and `classifier.*`.
    pub(super) fn torchvision(
        channels: usize,
        alignment: Alignment,
        variables: &Variables<'_>,
        places: &[(usize, Variables<'_>)],
    ) -> Result<Self> {
        let shape = HeadShape { inputs: channels, middle: channels, kernel: 3, dropout: Dropout::Never };
        let projection = projection(channels, alignment, &variables.at("aspp.project"))?;
        let head = |(outputs, place): &(usize, Variables<'_>)| ConvolutionHead::new(shape, *outputs, place);
        Ok(Self::Torchvision { projection, heads: places.iter().map(head).collect::<Result<_>>()? })
    }

    /// DDC-AT's: in each of `places` `head.{conv,norm}.*` and `classifier.*`.
    pub(super) fn ddc_at(
        channels: usize,
        alignment: Alignment,
        places: &[(usize, Variables<'_>)],
    ) -> Result<Self> {
        let head = |(outputs, place): &(usize, Variables<'_>)| {
            let projection = projection(channels, alignment, &place.at("head"))?;
            Result::Ok((projection, Classifier::new(channels, *outputs, &place.at("classifier"))?))
        };
        places.iter().map(head).collect::<Result<_>>().map(Self::DdcAt)
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Torchvision { heads, .. } => heads.len(),
            Self::DdcAt(heads) => heads.len(),
        }
    }

    /// Logits (N, h, w, outputs) of the first `count` heads.
    pub(super) fn forward(&self, x: &Pooled, count: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        match self {
            Self::Torchvision { projection, heads } => {
                let x = projection.forward(x, run)?;
                let rate = if run.mode.dropout_rate() > 0.0 { PROJECTION_DROPOUT } else { 0.0 };
                let x = run.dropout_elements(&x, rate)?;
                heads.iter().take(count).map(|head| head.forward(&x, run)).collect()
            }
            Self::DdcAt(heads) => {
                let head = |(projection, classifier): &(PooledConvolution, Classifier)| {
                    let x = projection.forward(x, run)?;
                    let x = Dropout::Channels.forward(&x, run)?;
                    classifier.forward(&x, run)
                };
                heads.iter().take(count).map(head).collect()
            }
        }
    }

    /// Multiply-adds of the main head for a map of `size` (height, width) and `channels`.
    pub(super) fn cost(&self, size: [usize; 2], channels: usize) -> u64 {
        let pixels = (size[0] * size[1]) as u64;
        match self {
            Self::Torchvision { projection, heads } => projection.cost(size, channels) + heads[0].cost(size),
            Self::DdcAt(heads) => {
                let (projection, classifier) = &heads[0];
                projection.cost(size, channels) + pixels * classifier.cost()
            }
        }
    }
}
