//! PSPNet (Zhao et al. 2017).
//!
//! Variables: `backbone.*` as the [`Backbone`] names them; for pyramid level I of the bins 1, 2, 3
//! and 6 `psp.branches.I.conv.weight` and `psp.branches.I.norm.*`; `head.conv.weight`,
//! `head.norm.*`, `classifier.{weight,bias}`; with an auxiliary loss `supervision.head.conv.weight`,
//! `supervision.head.norm.*` and `supervision.classifier.{weight,bias}`. A branch repeats the names
//! of head and classifier behind its own.

mod head;
mod pyramid;

use self::head::Head;
use self::pyramid::Pyramid;
use crate::backbone_kind::Backbone;
use crate::convolution_head::Dropout;
use crate::dilation::Dilation;
use crate::layers::{Heads, Layers, Maps, Settings};
use crate::run::Run;
use crate::supervision::{self, Supervision};
use crate::trunk::{Stages, Trunk, scales};
use crate::variables::Variables;
use crate::{backbone_file, foreign, settings};
use candle_core::{Result, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
const DESCRIPTION: &str =
    "PSPNet on a residual network at output stride 8; by default PSPNet50 on a pre-activation ResNet.";

/// PSPNet at output stride 8. The default is `PSPNet50` on a pre-activation `ResNet`.
///
/// On ResNet v1 and v1c it is semseg's: all 3x3 convolutions of the third stage have dilation 2,
/// those of the fourth 4. semseg also sets `upsampling: align_corners` and an auxiliary loss of
/// weight 0.4.
///
/// ```
/// use robustseg_models::{Backbone, NetworkConfig, PspNetConfig};
/// let pspnet50 = NetworkConfig::new(PspNetConfig::default(), 21);
/// assert_eq!(pspnet50.outline().unwrap().parameter_count(), 46_584_917);
/// let semseg = PspNetConfig { backbone: Backbone::ResnetV1c, auxiliary_loss: 0.4, ..PspNetConfig::default() };
/// assert_eq!(NetworkConfig::new(semseg, 21).outline().unwrap().parameter_count(), 49_081_578);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(description = DESCRIPTION))]
#[serde(default, deny_unknown_fields)]
pub struct PspNetConfig {
    /// Residual blocks of the four stages, 1 to 256 each.
    pub layers: [usize; 4],
    /// Channels of the stem, 1 to 1024. Stages have 4, 8, 16 and 32 times as many, pyramid levels
    /// and head 8 times.
    pub width: usize,
    /// The network that reads the image.
    #[serde(skip_serializing_if = "settings::is_default")]
    pub backbone: Backbone,
    /// Weight of the cross-entropy of an auxiliary head on the third stage, 0 to 10. The head takes
    /// part in training alone. With 0, the default, there is no such head.
    #[serde(skip_serializing_if = "settings::is_default")]
    pub auxiliary_loss: f64,
}

impl Default for PspNetConfig {
    fn default() -> Self {
        Self { layers: [3, 4, 6, 3], width: 64, backbone: Backbone::default(), auxiliary_loss: 0.0 }
    }
}

impl PspNetConfig {
    /// Channels of each pyramid level and of the heads.
    fn head_channels(&self) -> usize {
        8 * self.width
    }
}

impl Settings for PspNetConfig {
    fn validate(&self) -> crate::Result<()> {
        Backbone::validate(self.layers, self.width)?;
        supervision::validate(self.auxiliary_loss)
    }

    fn layers(&self, heads: &Heads<'_>, variables: &Variables<'_>) -> Result<Box<dyn Layers>> {
        let [.., third, inputs] = self.backbone.channels(self.width);
        let middle = self.head_channels();
        let head = |outputs: usize, variables: &Variables<'_>| {
            Head::new(inputs, middle, outputs, heads.alignment, variables)
        };
        let trunk = self.backbone.build(self.layers, self.width, Dilation::Whole, variables)?;
        let pyramid = Pyramid::new(inputs, middle, variables)?;
        let mut all = vec![head(heads.classes, variables)?];
        for branch in heads.branches {
            all.push(head(branch.channels, &variables.at(&branch.name))?);
        }
        let weight = self.auxiliary_loss;
        let supervision = Supervision::new(weight, third, 3, Dropout::Channels, heads, variables)?;
        Ok(Box::new(PspNet { head_channels: middle as u64, trunk, pyramid, heads: all, supervision }))
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

/// Backbone, pyramid, and heads of one shape: the main one and the branches.
struct PspNet {
    head_channels: u64,
    trunk: Box<dyn Trunk>,
    pyramid: Pyramid,
    heads: Vec<Head>,
    supervision: Option<Supervision>,
}

impl Layers for PspNet {
    fn forward(&self, x: &Tensor, heads: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let supervision = self.supervision.as_ref().filter(|_| heads > self.heads.len());
        let Stages { third, fourth } = self.trunk.forward(x, supervision.is_some(), run)?;
        let pooled = self.pyramid.forward(fourth, run)?;
        let mut logits = Vec::new();
        for head in self.heads.iter().take(heads) {
            logits.push(head.forward(&pooled, run)?);
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
        trunk + self.pyramid.cost() + self.heads[0].cost(size)
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let [_, _, eighth] = scales(size);
        let supervision = self.supervision.as_ref().map_or(0, Supervision::kept);
        let heads = self.heads.len() as u64 * self.head_channels + supervision;
        self.trunk.maps(size).and_kept(eighth.saturating_mul(heads))
    }
}
