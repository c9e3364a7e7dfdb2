//! The choice among convolutional backbones.

use crate::dilation::Dilation;
use crate::layers::within;
use crate::resnet_v1::{ResNetV1, Stem};
use crate::resnet_v2::ResNetV2;
use crate::trunk::Trunk;
use crate::variables::Variables;
use crate::{resnet_v1, resnet_v2};
use candle_core::Result;
use serde::{Deserialize, Serialize};

/// A residual network at output stride 8, from which PSPNet, `DeepLabV3` and FCN take their maps.
/// The names of its variables are `backbone.` and those of files that
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

    /// Refuses numbers of blocks and a width that no backbone has.
    pub(crate) fn validate(layers: [usize; 4], width: usize) -> crate::Result<()> {
        layers.into_iter().try_for_each(|blocks| within("layers", blocks, 256))?;
        within("width", width, 1024)
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
