//! PSPNet (Zhao et al. 2017) on a pre-activation `ResNet`.

mod head;
mod pyramid;

use self::head::Head;
use self::pyramid::Pyramid;
use crate::foreign;
use crate::layers::{Heads, Layers, Maps, Settings, within};
use crate::resnet_v2::{ResNetV2, channels, size_of};
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
const DESCRIPTION: &str = "PSPNet on a pre-activation ResNet at output stride 8; by default PSPNet50.";

/// PSPNet on a pre-activation `ResNet` at output stride 8. The default is `PSPNet50`.
///
/// ```
/// use robustseg_models::{NetworkConfig, PspNetConfig};
/// let pspnet50 = NetworkConfig::new(PspNetConfig::default(), 21);
/// assert_eq!(pspnet50.outline().unwrap().parameter_count(), 46_584_917);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(description = DESCRIPTION))]
#[serde(default, deny_unknown_fields)]
pub struct PspNetConfig {
    /// Residual blocks of the four stages, 1 to 256 each.
    pub layers: [usize; 4],
    /// Channels of the stem, 1 to 1024. Stages have 4, 8, 16 and 32 times as many, pyramid levels
    /// and head 8 times.
    pub width: usize,
}

impl Default for PspNetConfig {
    fn default() -> Self {
        Self { layers: [3, 4, 6, 3], width: 64 }
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
        self.layers.iter().try_for_each(|&blocks| within("layers", blocks, 256))?;
        within("width", self.width, 1024)
    }

    fn layers(&self, heads: &Heads<'_>, variables: &Variables<'_>) -> Result<Box<dyn Layers>> {
        let (inputs, middle) = (channels(self.width)[4], self.head_channels());
        let head = |outputs: usize, variables: &Variables<'_>| {
            Head::new(inputs, middle, outputs, heads.alignment, variables)
        };
        let backbone = ResNetV2::new(self.layers, self.width, &variables.backbone())?;
        let pyramid = Pyramid::new(inputs, middle, variables)?;
        let mut all = vec![head(heads.classes, variables)?];
        for branch in heads.branches {
            all.push(head(branch.channels, &variables.at(&branch.name))?);
        }
        Ok(Box::new(PspNet { config: self.clone(), backbone, pyramid, heads: all }))
    }

    fn scale(&self) -> (&'static str, usize) {
        ("width", self.width)
    }

    fn foreign(&self, file: &SafeTensors<'_>) -> Option<String> {
        foreign::names(file)
    }

    fn fitting(&self, file: &SafeTensors<'_>) -> Option<String> {
        let (layers, width) = size_of(file);
        let width = width.map_or(String::new(), |width| format!(" and width {width}"));
        Some(format!(
            "the file has layers {layers:?}{width}, which model.layers and model.width have to name"
        ))
    }
}

/// Backbone, pyramid, and heads of one shape: the main one and the branches.
struct PspNet {
    config: PspNetConfig,
    backbone: ResNetV2,
    pyramid: Pyramid,
    heads: Vec<Head>,
}

impl Layers for PspNet {
    fn forward(&self, x: &Tensor, heads: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let pooled = self.pyramid.forward(self.backbone.forward(x, run)?, run)?;
        self.heads.iter().take(heads).map(|head| head.forward(&pooled, run)).collect()
    }

    fn multiply_adds(&self, size: [usize; 2]) -> u64 {
        let (size, backbone) = self.backbone.cost(size);
        backbone + self.pyramid.cost() + self.heads[0].cost(size)
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let [half, quarter, eighth] = scales(size);
        let channels = channels(self.config.width).map(|channels| channels as u64);
        let (mut kept, mut largest) = (half.saturating_mul(channels[0]), 0);
        for (stage, &blocks) in self.config.layers.iter().enumerate() {
            let pixels = if stage == 0 { quarter } else { eighth };
            let [input, output] = [channels[stage], channels[stage + 1]];
            // In each block two maps of a quarter of the channels and one of all; in the first
            // block also the shortcut's.
            kept = kept.saturating_add(pixels.saturating_mul(output * (3 * blocks as u64 + 2) / 2));
            // A block's input and output. A stage's only block reads the output of the stage
            // before.
            let pair = output + if blocks > 1 { output } else { input };
            largest = largest.max(pixels.saturating_mul(pair));
        }
        let heads = self.heads.len() as u64 * self.config.head_channels() as u64;
        Maps { kept: kept.saturating_add(eighth.saturating_mul(heads)), largest }
    }
}

/// Pixels of maps of half, a quarter and an eighth of an image's sides.
fn scales(size: [usize; 2]) -> [u64; 3] {
    let halved = |size: [u64; 2]| size.map(|side| side.div_ceil(2));
    let half = halved(size.map(|side| side as u64));
    let quarter = halved(half);
    [half, quarter, halved(quarter)].map(|[height, width]| height.saturating_mul(width))
}
