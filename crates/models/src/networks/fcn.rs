//! FCN (Long et al. 2015), as torchvision has it: one convolutional head on a dilated `ResNet`.
//!
//! Variables: `backbone.*` as the [`Backbone`] names them; `head.conv.weight`, `head.norm.*`,
//! `classifier.{weight,bias}`; with an auxiliary loss `supervision.head.conv.weight`,
//! `supervision.head.norm.*` and `supervision.classifier.{weight,bias}`. A branch repeats the names
//! of head and classifier behind its own.

use crate::backbone_kind::Backbone;
use crate::convolution_head::{ConvolutionHead, Dropout, HeadShape};
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
    "FCN on a residual network at output stride 8, as torchvision has it; by default on ResNet50.";

/// FCN at output stride 8. The default is torchvision's `fcn_resnet50` without its auxiliary head.
/// torchvision trains that head with weight 0.5.
///
/// ```
/// use robustseg_models::{FcnConfig, NetworkConfig};
/// let outline = NetworkConfig::new(FcnConfig::default(), 21).outline().unwrap();
/// assert_eq!(outline.parameter_count(), 32_957_013);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(description = DESCRIPTION))]
#[serde(default, deny_unknown_fields)]
pub struct FcnConfig {
    /// Residual blocks of the four stages, 1 to 256 each.
    pub layers: [usize; 4],
    /// Channels of the stem, 1 to 1024. Stages have 4, 8, 16 and 32 times as many, the head 8
    /// times.
    pub width: usize,
    /// The network that reads the image. The first block of a dilated stage keeps the dilation of
    /// the stage before.
    pub backbone: Backbone,
    /// Weight of the cross-entropy of an auxiliary head on the third stage, 0 to 10. The head takes
    /// part in training alone. With 0, the default, there is no such head.
    pub auxiliary_loss: f64,
}

impl Default for FcnConfig {
    fn default() -> Self {
        Self { layers: [3, 4, 6, 3], width: 64, backbone: Backbone::ResnetV1, auxiliary_loss: 0.0 }
    }
}

impl Settings for FcnConfig {
    fn validate(&self) -> crate::Result<()> {
        Backbone::validate(self.layers, self.width)?;
        supervision::validate(self.auxiliary_loss)
    }

    fn layers(&self, heads: &Heads<'_>, variables: &Variables<'_>) -> Result<Box<dyn Layers>> {
        let [.., third, inputs] = self.backbone.channels(self.width);
        let middle = inputs / 4;
        let shape = HeadShape { inputs, middle, kernel: 3, dropout: Dropout::Elements };
        let trunk = self.backbone.build(self.layers, self.width, Dilation::Delayed, variables)?;
        let mut all = vec![ConvolutionHead::new(shape, heads.classes, variables)?];
        for branch in heads.branches {
            all.push(ConvolutionHead::new(shape, branch.channels, &variables.at(&branch.name))?);
        }
        let weight = self.auxiliary_loss;
        let supervision = Supervision::new(weight, third, 3, Dropout::Elements, heads, variables)?;
        Ok(Box::new(Fcn { head_channels: middle as u64, trunk, heads: all, supervision }))
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

/// Backbone, and heads of one shape: the main one and the branches.
struct Fcn {
    head_channels: u64,
    trunk: Box<dyn Trunk>,
    heads: Vec<ConvolutionHead>,
    supervision: Option<Supervision>,
}

impl Layers for Fcn {
    fn forward(&self, x: &Tensor, heads: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let supervision = self.supervision.as_ref().filter(|_| heads > self.heads.len());
        let Stages { third, fourth } = self.trunk.forward(x, supervision.is_some(), run)?;
        let mut logits = Vec::new();
        for head in self.heads.iter().take(heads) {
            logits.push(head.forward(&fourth, run)?);
        }
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
        trunk + self.heads[0].cost(size)
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let [_, _, eighth] = scales(size);
        let supervision = self.supervision.as_ref().map_or(0, Supervision::kept);
        // Each head's map before and after its norm.
        let heads = 2 * self.heads.len() as u64 * self.head_channels + supervision;
        self.trunk.maps(size).and_kept(eighth.saturating_mul(heads))
    }
}
