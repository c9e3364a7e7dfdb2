//! Where the pixels of a small map lie in a larger one.

use robustseg_ops::Alignment;
use serde::{Deserialize, Serialize};

/// How a network's maps, its logits among them, are brought to a larger size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// Bilinear, half-pixel centres.
    #[default]
    HalfPixel,
    /// Bilinear, corners aligned, as PSPNet's authors do (who crop to 8k+1).
    AlignCorners,
}

impl From<Upsampling> for Alignment {
    fn from(upsampling: Upsampling) -> Self {
        match upsampling {
            Upsampling::HalfPixel => Alignment::HalfPixel,
            Upsampling::AlignCorners => Alignment::AlignCorners,
        }
    }
}
