//! What a PSPNet is made of: the `model` metadata of a checkpoint.

use crate::{Error, Result};
use robustseg_ops::Alignment;
use serde::{Deserialize, Serialize};

/// How the logits are brought to the image's size, and the pyramid's maps to the backbone's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// Bilinear, half-pixel centres.
    #[default]
    HalfPixel,
    /// Bilinear, corners aligned, as PSPNet's authors (who crop to 8k+1).
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

/// The shape of a PSPNet on a pre-activation ResNet, and the normalisation at its entry.
///
/// ```
/// let pspnet50 = robustseg_models::PspNetConfig::pspnet50(21);
/// assert_eq!(robustseg_models::parameter_count(&pspnet50).unwrap(), 46_584_917);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PspNetConfig {
    /// Residual blocks of the four stages.
    pub layers: [usize; 4],
    /// Channels of the stem; stages have 4, 8, 16 and 32 times as many, pyramid branches and head 8 times.
    pub width: usize,
    /// Classes, at most 255.
    pub num_classes: usize,
    /// Mean of each colour channel, in units of `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each colour channel.
    pub std: [f32; 3],
    /// Kind of upsampling.
    #[serde(default, skip_serializing_if = "is_half_pixel")]
    pub upsampling: Upsampling,
    /// Whether an auxiliary and a mask branch, heads like the main one, stand beside it: Xu, Zhao, Jia, ICCV 2021, train
    /// with them. Predictions are the main branch's alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub divided: bool,
}

// Serde's predicates take a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_half_pixel(upsampling: &Upsampling) -> bool {
    *upsampling == Upsampling::HalfPixel
}

impl PspNetConfig {
    /// PSPNet50: layers 3, 4, 6, 3, width 64, normalised by mean and deviation 0.5.
    pub fn pspnet50(num_classes: usize) -> Self {
        Self {
            layers: [3, 4, 6, 3],
            width: 64,
            num_classes,
            mean: [0.5; 3],
            std: [0.5; 3],
            upsampling: Upsampling::HalfPixel,
            divided: false,
        }
    }

    /// Refuses what describes no network.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn validate(&self) -> Result<()> {
        let within = |name: &str, value: usize, largest: usize| {
            if (1..=largest).contains(&value) {
                Ok(())
            } else {
                Err(Error::Config(format!("{name} must be 1 to {largest}, found {value}")))
            }
        };
        for blocks in self.layers {
            within("each of layers", blocks, 256)?;
        }
        within("width", self.width, 1024)?;
        within("num_classes", self.num_classes, 255)?;
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return Err(Error::Config(format!("mean must be finite, found {:?}", self.mean)));
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(Error::Config(format!("std must be positive, found {:?}", self.std)));
        }
        Ok(())
    }

    /// Channels of the stem and of the four stages.
    pub(crate) fn channels(&self) -> [usize; 5] {
        [1, 4, 8, 16, 32].map(|factor| divisible_by_eight(factor * self.width))
    }

    /// Channels of each pyramid branch and of the head.
    pub(crate) fn head_channels(&self) -> usize {
        8 * self.width
    }
}

/// The nearest multiple of eight, at least eight and at least nine tenths of `channels`: timm's rule for the
/// channels of stem, stages and bottlenecks.
pub(crate) fn divisible_by_eight(channels: usize) -> usize {
    let nearest = ((channels + 4) / 8 * 8).max(8);
    if nearest * 10 < channels * 9 { nearest + 8 } else { nearest }
}
