//! Convolutional backbones: the choice among them, and all that a network needs of one.

use crate::dilation::Dilation;
use crate::layers::Maps;
use crate::resnet_v1::{ResNetV1, Stem};
use crate::resnet_v2::ResNetV2;
use crate::run::Run;
use crate::variables::Variables;
use crate::{resnet_v1, resnet_v2};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// A residual network at output stride 8, from which PSPNet, `DeepLabV3` and FCN take their maps.
/// The names of its variables are `backbone.` and those of the files that
/// [`Network::load_backbone`] takes.
///
/// [`Network::load_backbone`]: crate::Network::load_backbone
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Backbone {
    /// Norm and `ReLU` before each convolution (He et al. 2016, *Identity Mappings*). Takes timm's
    /// `resnetv2` models.
    #[default]
    ResnetV2,
    /// Norm and `ReLU` after each convolution (He et al. 2016, *Deep Residual Learning*), with the
    /// stride in the 3x3 convolution. Takes torchvision's `resnet50` and `resnet101`, timm's, and
    /// robust weights with these names.
    ResnetV1,
    /// The same with a stem of three 3x3 convolutions instead of one 7x7. Takes semseg's `ResNet`.
    ResnetV1c,
}

impl Backbone {
    /// The name in specs and checkpoints.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ResnetV2 => "resnet_v2",
            Self::ResnetV1 => "resnet_v1",
            Self::ResnetV1c => "resnet_v1c",
        }
    }

    /// Channels of the stem and of the four stages.
    pub(crate) fn channels(self, width: usize) -> [usize; 5] {
        match self {
            Self::ResnetV2 => resnet_v2::channels(width),
            Self::ResnetV1 => resnet_v1::channels(width, Stem::Single),
            Self::ResnetV1c => resnet_v1::channels(width, Stem::Deep),
        }
    }

    /// The backbone with `layers` blocks in its stages. ResNet v2 has one kind of dilation.
    pub(crate) fn build(
        self,
        layers: [usize; 4],
        width: usize,
        dilation: Dilation,
        variables: &Variables<'_>,
    ) -> Result<Box<dyn Trunk>> {
        let variables = &variables.backbone();
        Ok(match self {
            Self::ResnetV2 => Box::new(ResNetV2::new(layers, width, variables)?),
            Self::ResnetV1 => Box::new(ResNetV1::new(Stem::Single, layers, width, dilation, variables)?),
            Self::ResnetV1c => Box::new(ResNetV1::new(Stem::Deep, layers, width, dilation, variables)?),
        })
    }
}

/// The layers of a backbone.
pub(crate) trait Trunk: Send + Sync {
    /// The maps of `x` (N, H, W, 3).
    fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Stages>;

    /// Output size and multiply-adds for an image of `size` (height, width).
    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64);

    /// What one image of `size` (height, width) occupies.
    fn maps(&self, size: [usize; 2]) -> Maps;
}

/// The maps of an image, an eighth of its size.
pub(crate) struct Stages {
    /// Of the third stage (N, h, w, 16 width), which auxiliary heads read. A ResNet v2's is the sum
    /// before the next norm.
    pub(crate) third: Tensor,
    /// Of the fourth and last stage (N, h, w, 32 width).
    pub(crate) fourth: Tensor,
}

/// Pixels of maps of half, a quarter and an eighth of an image's sides.
pub(crate) fn scales(size: [usize; 2]) -> [u64; 3] {
    let halved = |size: [u64; 2]| size.map(|side| side.div_ceil(2));
    let half = halved(size.map(|side| side as u64));
    let quarter = halved(half);
    [half, quarter, halved(quarter)].map(|[height, width]| height.saturating_mul(width))
}

/// Maps that the blocks of a stage keep, in halves of the stage's output.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// Of each block.
    pub(crate) block: u64,
    /// Of the first block in addition.
    pub(crate) shortcut: u64,
}

/// What the four stages occupy for one image of `size`, with `stem` numbers kept before them.
/// `channels` are those of the stem and of the stages, which have `layers` blocks.
pub(crate) fn stage_maps(
    size: [usize; 2],
    stem: u64,
    channels: [usize; 5],
    layers: [usize; 4],
    each: Kept,
) -> Maps {
    let [_, quarter, eighth] = scales(size);
    let channels = channels.map(|channels| channels as u64);
    let (mut kept, mut largest) = (stem, 0);
    for (stage, &blocks) in layers.iter().enumerate() {
        let pixels = if stage == 0 { quarter } else { eighth };
        let [input, output] = [channels[stage], channels[stage + 1]];
        let halves = each.block * blocks as u64 + each.shortcut;
        kept = kept.saturating_add(pixels.saturating_mul(output * halves / 2));
        // A block's input and output. A stage's only block reads the output of the stage before.
        let pair = output + if blocks > 1 { output } else { input };
        largest = largest.max(pixels.saturating_mul(pair));
    }
    Maps { kept, largest }
}
