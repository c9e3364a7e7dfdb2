//! The settings of UPerNet and of its published sizes.

use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
const DESCRIPTION: &str = "UPerNet on ConvNeXt; by default on the tiny one. `size` names a published network, whose settings \
     are the defaults of the others.";

/// A published size of ConvNeXt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConvNeXtSize {
    /// Depths 3, 3, 9 and 3.
    #[default]
    Tiny,
    /// Depths 3, 3, 27 and 3.
    Small,
}

/// The first layers of ConvNeXt, which make a map of a quarter of the image's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConvNeXtStem {
    /// A linear layer of patches of 4x4 pixels, and layer norm (Liu et al. 2022).
    #[default]
    Patches,
    /// Two 3x3 convolutions at stride 2, each with layer norm and GELU (Singh et al. 2023), as in
    /// the robust models of SEA's authors.
    Convolutions,
}

/// UPerNet (Xiao et al. 2018) on ConvNeXt (Liu et al. 2022) with logits of a quarter of the image's
/// size. The default is the tiny ConvNeXt.
///
/// In specs `size: small` stands for the settings of the small ConvNeXt; settings next to it change
/// them.
///
/// ```
/// use robustseg_models::{ConvNeXtStem, NetworkConfig, UperNetConfig};
/// let robust: UperNetConfig = serde_json::from_str(r#"{"size": "small", "stem": "convolutions"}"#)?;
/// assert_eq!((robust.depths, robust.stem), ([3, 3, 27, 3], ConvNeXtStem::Convolutions));
/// assert!(NetworkConfig::new(robust, 21).validate().is_ok());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct UperNetConfig {
    /// Blocks of the four stages, 1 to 256 each.
    pub depths: [usize; 4],
    /// Channels of the four stages, 1 to 4096 each.
    pub dims: [usize; 4],
    /// The first layers.
    pub stem: ConvNeXtStem,
    /// Channels of the head, 1 to 4096.
    pub head_channels: usize,
    /// Probability that training leaves out the last block's branch, at least 0 and below 1. It
    /// rises from 0 at the first block.
    pub drop_path: f64,
    /// Weight of the cross-entropy of an auxiliary head on the third stage, 0 to 10. The head takes
    /// part in training alone. With 0, the default, there is no such head. The published networks
    /// were trained with 0.4.
    pub auxiliary_loss: f64,
}

impl From<ConvNeXtSize> for UperNetConfig {
    fn from(size: ConvNeXtSize) -> Self {
        let (depths, drop_path) = match size {
            ConvNeXtSize::Tiny => ([3, 3, 9, 3], 0.4),
            ConvNeXtSize::Small => ([3, 3, 27, 3], 0.3),
        };
        let stem = ConvNeXtStem::default();
        Self { depths, dims: [96, 192, 384, 768], stem, head_channels: 512, drop_path, auxiliary_loss: 0.0 }
    }
}

impl Default for UperNetConfig {
    fn default() -> Self {
        ConvNeXtSize::default().into()
    }
}

/// The settings as files write them.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "UperNetConfig", description = DESCRIPTION))]
#[serde(deny_unknown_fields)]
struct Written {
    /// A published network, by default the tiny one.
    #[serde(default)]
    size: ConvNeXtSize,
    /// Blocks of the four stages, 1 to 256 each.
    depths: Option<[usize; 4]>,
    /// Channels of the four stages, 1 to 4096 each.
    dims: Option<[usize; 4]>,
    /// The first layers.
    stem: Option<ConvNeXtStem>,
    /// Channels of the head, 1 to 4096.
    head_channels: Option<usize>,
    /// Probability that training leaves out the last block's branch, at least 0 and below 1.
    drop_path: Option<f64>,
    /// Weight of the cross-entropy of an auxiliary head on the third stage, 0 to 10. The head takes
    /// part in training alone. With 0, the default, there is no such head.
    auxiliary_loss: Option<f64>,
}

impl From<Written> for UperNetConfig {
    fn from(written: Written) -> Self {
        let published = Self::from(written.size);
        Self {
            depths: written.depths.unwrap_or(published.depths),
            dims: written.dims.unwrap_or(published.dims),
            stem: written.stem.unwrap_or(published.stem),
            head_channels: written.head_channels.unwrap_or(published.head_channels),
            drop_path: written.drop_path.unwrap_or(published.drop_path),
            auxiliary_loss: written.auxiliary_loss.unwrap_or(published.auxiliary_loss),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for UperNetConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Written::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}
