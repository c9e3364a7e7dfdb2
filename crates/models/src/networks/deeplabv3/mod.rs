//! `DeepLabV3` (Chen et al. 2017, *Rethinking Atrous Convolution*).
//!
//! Variables: `backbone.*` as the [`Backbone`] names them; `aspp.branches.I.conv.weight` and
//! `aspp.branches.I.norm.*` for the 1x1 convolution (I = 0) and the dilated ones (1 to 3);
//! `aspp.pool.conv.weight` and `aspp.pool.norm.*`; in torchvision's variant
//! `aspp.project.conv.weight` and `aspp.project.norm.*`; `head.conv.weight`, `head.norm.*`,
//! `classifier.{weight,bias}`; with an auxiliary loss `supervision.head.conv.weight`,
//! `supervision.head.norm.*` and `supervision.classifier.{weight,bias}`. A branch repeats the names
//! of head and classifier behind its own.

mod aspp;
mod head;

use self::aspp::{Aspp, BRANCHES};
use self::head::DeepLabHeads;
use crate::backbone_kind::Backbone;
use crate::convolution_head::Dropout;
use crate::dilation::Dilation;
use crate::layers::{Heads, Layers, Maps, Settings};
use crate::run::Run;
use crate::supervision::{self, Supervision};
use crate::trunk::{Stages, Trunk, scales};
use crate::variables::Variables;
use crate::{backbone_file, foreign};
use candle_core::{Result, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
const DESCRIPTION: &str =
    "DeepLabV3 on a residual network at output stride 8; by default torchvision's on ResNet50.";

/// `DeepLabV3` at output stride 8. The default is torchvision's `deeplabv3_resnet50` without its
/// auxiliary head. torchvision trains that head with weight 0.5.
///
/// ```
/// use robustseg_models::{DeepLabV3Config, NetworkConfig};
/// let outline = NetworkConfig::new(DeepLabV3Config::default(), 21).outline().unwrap();
/// assert_eq!(outline.parameter_count(), 39_638_869);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(description = DESCRIPTION))]
#[serde(default, deny_unknown_fields)]
pub struct DeepLabV3Config {
    /// Residual blocks of the four stages, 1 to 256 each.
    pub layers: [usize; 4],
    /// Channels of the stem, 1 to 1024. Stages have 4, 8, 16 and 32 times as many, pyramid and head
    /// 4 times.
    pub width: usize,
    /// The network that reads the image.
    pub backbone: Backbone,
    /// Rates, heads and dilations.
    pub variant: DeepLabVariant,
    /// Weight of the cross-entropy of an auxiliary head on the third stage, 0 to 10. The head takes
    /// part in training alone. With 0, the default, there is no such head.
    pub auxiliary_loss: f64,
}

/// The details in which published `DeepLabV3` differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeepLabVariant {
    /// torchvision's: rates 12, 24 and 36; a projection of the pyramid with dropout of half of its
    /// elements, then a 3x3 convolution before the classifier; the first block of a dilated stage
    /// keeps the dilation of the stage before. A training without dropout has none here either.
    #[default]
    Torchvision,
    /// DDC-AT's, which follows semseg: rates 6, 12 and 18; dropout of channels and the classifier
    /// directly after the projection; an auxiliary head with a 1x1 convolution; all 3x3
    /// convolutions of the third stage at dilation 2, of the fourth at 4. Its authors use ResNet
    /// v1c, `upsampling: align_corners` and an auxiliary loss of weight 0.4.
    DdcAt,
}

impl DeepLabVariant {
    /// Dilations of the pyramid.
    fn rates(self) -> [usize; BRANCHES - 1] {
        match self {
            Self::Torchvision => [12, 24, 36],
            Self::DdcAt => [6, 12, 18],
        }
    }

    fn dilation(self) -> Dilation {
        match self {
            Self::Torchvision => Dilation::Delayed,
            Self::DdcAt => Dilation::Whole,
        }
    }

    /// Kernel and dropout of the auxiliary head.
    fn supervision(self) -> (usize, Dropout) {
        match self {
            Self::Torchvision => (3, Dropout::Elements),
            Self::DdcAt => (1, Dropout::Channels),
        }
    }
}

impl Default for DeepLabV3Config {
    fn default() -> Self {
        Self {
            layers: [3, 4, 6, 3],
            width: 64,
            backbone: Backbone::ResnetV1,
            variant: DeepLabVariant::default(),
            auxiliary_loss: 0.0,
        }
    }
}

impl Settings for DeepLabV3Config {
    fn validate(&self) -> crate::Result<()> {
        Backbone::validate(self.layers, self.width)?;
        supervision::validate(self.auxiliary_loss)
    }

    fn layers(&self, heads: &Heads<'_>, variables: &Variables<'_>) -> Result<Box<dyn Layers>> {
        let [.., third, inputs] = self.backbone.channels(self.width);
        let channels = 4 * self.width;
        let trunk = self.backbone.build(self.layers, self.width, self.variant.dilation(), variables)?;
        let aspp = Aspp::new(inputs, channels, self.variant.rates(), &variables.at("aspp"))?;
        let branches = heads.branches.iter().map(|branch| (branch.channels, variables.at(&branch.name)));
        let places: Vec<_> = [(heads.classes, variables.clone())].into_iter().chain(branches).collect();
        let all = match self.variant {
            DeepLabVariant::Torchvision => {
                DeepLabHeads::torchvision(channels, heads.alignment, variables, &places)?
            }
            DeepLabVariant::DdcAt => DeepLabHeads::ddc_at(channels, heads.alignment, &places)?,
        };
        let (kernel, dropout) = self.variant.supervision();
        let weight = self.auxiliary_loss;
        let supervision = Supervision::new(weight, third, kernel, dropout, heads, variables)?;
        Ok(Box::new(DeepLabV3 { channels, trunk, aspp, heads: all, supervision }))
    }

    fn small() -> Self {
        Self { layers: [1; 4], width: 4, ..Self::default() }
    }

    fn scale(&self) -> (&'static str, usize) {
        ("width", self.width)
    }

    fn foreign(&self, file: &SafeTensors<'_>) -> Option<String> {
        foreign::names(file, self.backbone)
    }

    fn fitting(&self, file: &SafeTensors<'_>) -> Option<String> {
        backbone_file::fitting(file, self.backbone, self.layers, self.width)
    }
}

/// Backbone, pyramid and heads.
struct DeepLabV3 {
    channels: usize,
    trunk: Box<dyn Trunk>,
    aspp: Aspp,
    heads: DeepLabHeads,
    supervision: Option<Supervision>,
}

impl Layers for DeepLabV3 {
    fn forward(&self, x: &Tensor, heads: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let supervision = self.supervision.as_ref().filter(|_| heads > self.heads.count());
        let Stages { third, fourth } = self.trunk.forward(x, supervision.is_some(), run)?;
        let pooled = self.aspp.forward(&fourth, run)?;
        let mut logits = self.heads.forward(&pooled, heads, run)?;
        if let (Some(supervision), Some(third)) = (supervision, third) {
            logits.push(supervision.forward(&third, run)?);
        }
        Ok(logits)
    }

    fn auxiliary_loss(&self) -> Option<f64> {
        self.supervision.as_ref().map(|supervision| supervision.weight)
    }

    fn multiply_adds(&self, size: [usize; 2]) -> u64 {
        let (size, trunk) = self.trunk.cost(size);
        trunk + self.aspp.cost(size) + self.heads.cost(size, self.channels)
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let [_, _, eighth] = scales(size);
        // Each branch before and after its norm, all branches as one map, and two maps of each head.
        let maps = (3 * BRANCHES + 2 * self.heads.count()) as u64;
        let supervision = self.supervision.as_ref().map_or(0, Supervision::kept);
        let channels = maps * self.channels as u64 + supervision;
        self.trunk.maps(size).and_kept(eighth.saturating_mul(channels))
    }
}
