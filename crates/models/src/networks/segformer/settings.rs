//! The settings of SegFormer and of its published sizes.

use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
const DESCRIPTION: &str = "SegFormer: a hierarchical transformer with a head of linear layers; by default B0. `size` names a \
     published network, whose settings are the defaults of the others.";

/// A published size of SegFormer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SegFormerSize {
    /// 3.8 million parameters.
    #[default]
    B0,
    /// 13.7 million.
    B1,
    /// 27.5 million.
    B2,
    /// 47.3 million.
    B3,
    /// 64.1 million.
    B4,
    /// 84.7 million.
    B5,
}

/// SegFormer (Xie et al. 2021) with logits of a quarter of the image's size. The default is B0.
///
/// In specs `size: b3` stands for the settings of B3; settings next to it change them.
///
/// ```
/// use robustseg_models::{NetworkConfig, SegFormerConfig, SegFormerSize};
/// let b0 = NetworkConfig::new(SegFormerConfig::default(), 150);
/// assert_eq!(b0.outline().unwrap().parameter_count(), 3_752_694);
/// let b3: SegFormerConfig = serde_json::from_str(r#"{"size": "b3"}"#)?;
/// assert_eq!(b3, SegFormerSize::B3.into());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct SegFormerConfig {
    /// Blocks of the four stages, 1 to 256 each.
    pub depths: [usize; 4],
    /// Channels of the four stages, 1 to 4096 each.
    pub widths: [usize; 4],
    /// Heads of attention of the four stages, 1 to 256 each, which divide the widths.
    pub heads: [usize; 4],
    /// Factors by which the sides of the keys' and values' maps are smaller, 1 to 64 each.
    pub reductions: [usize; 4],
    /// Channels of the head, 1 to 4096.
    pub decoder_channels: usize,
    /// Probability that training leaves out the last block's branches, at least 0 and below 1. It
    /// rises from 0 at the first block.
    pub drop_path: f64,
}

impl From<SegFormerSize> for SegFormerConfig {
    fn from(size: SegFormerSize) -> Self {
        let depths = match size {
            SegFormerSize::B0 | SegFormerSize::B1 => [2, 2, 2, 2],
            SegFormerSize::B2 => [3, 4, 6, 3],
            SegFormerSize::B3 => [3, 4, 18, 3],
            SegFormerSize::B4 => [3, 8, 27, 3],
            SegFormerSize::B5 => [3, 6, 40, 3],
        };
        let (widths, decoder_channels) = match size {
            SegFormerSize::B0 => ([32, 64, 160, 256], 256),
            SegFormerSize::B1 => ([64, 128, 320, 512], 256),
            _ => ([64, 128, 320, 512], 768),
        };
        let (heads, reductions) = ([1, 2, 5, 8], [8, 4, 2, 1]);
        Self { depths, widths, heads, reductions, decoder_channels, drop_path: 0.1 }
    }
}

impl Default for SegFormerConfig {
    fn default() -> Self {
        SegFormerSize::default().into()
    }
}

/// The settings as files write them.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SegFormerConfig", description = DESCRIPTION))]
#[serde(deny_unknown_fields)]
struct Written {
    /// A published network, by default B0.
    #[serde(default)]
    size: SegFormerSize,
    /// Blocks of the four stages, 1 to 256 each.
    depths: Option<[usize; 4]>,
    /// Channels of the four stages, 1 to 4096 each.
    widths: Option<[usize; 4]>,
    /// Heads of attention of the four stages, 1 to 256 each, which divide the widths.
    heads: Option<[usize; 4]>,
    /// Factors by which the sides of the keys' and values' maps are smaller, 1 to 64 each.
    reductions: Option<[usize; 4]>,
    /// Channels of the head, 1 to 4096.
    decoder_channels: Option<usize>,
    /// Probability that training leaves out the last block's branches, at least 0 and below 1.
    drop_path: Option<f64>,
}

impl From<Written> for SegFormerConfig {
    fn from(written: Written) -> Self {
        let published = Self::from(written.size);
        Self {
            depths: written.depths.unwrap_or(published.depths),
            widths: written.widths.unwrap_or(published.widths),
            heads: written.heads.unwrap_or(published.heads),
            reductions: written.reductions.unwrap_or(published.reductions),
            decoder_channels: written.decoder_channels.unwrap_or(published.decoder_channels),
            drop_path: written.drop_path.unwrap_or(published.drop_path),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for SegFormerConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Written::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}
