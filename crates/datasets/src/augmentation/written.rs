//! Augmentation as written in specs: a preset by name, settings, or both.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::AugmentationConfig;
use crate::CropSize;
use crate::jitter::JitterConfig;

/// Names of augmentation presets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Preset {
    /// The settings of PSPNet's authors: half of the samples are rotated, and half are blurred
    /// before the crop, by a 5 x 5 kernel with standard deviation 1.1.
    Semseg,
    /// The settings of mmsegmentation: no rotation and no blur, colour jitter, and crops in which no
    /// class has more than three quarters of the pixels.
    Mmsegmentation,
}

/// Augmentation as written in a spec: a name, or settings with an optional preset.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(untagged))]
pub(super) enum Written {
    Name(Preset),
    Settings(Settings),
}

/// The settings of [`AugmentationConfig`]. Missing settings come from the preset, or from the paper
/// without a preset.
#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// The source of missing settings [default: the paper's].
    preset: Option<Preset>,
    /// Whether to mirror half of the samples at random [default: true].
    flip: Option<bool>,
    /// Smallest and largest resize factor, drawn uniformly; `[1, 1]` keeps the size [default:
    /// `[0.5, 2]`].
    scale: Option<[f64; 2]>,
    /// Largest rotation to either side in degrees, drawn uniformly; 0 disables rotation [default:
    /// 10].
    rotation: Option<f64>,
    /// Probability of rotating a sample [default: 1; of semseg 0.5].
    rotation_probability: Option<f64>,
    /// Whether to blur half of the samples at random [default: true].
    blur: Option<bool>,
    /// Smallest and largest standard deviation of the Gaussian blur, in pixels of the crop, drawn
    /// uniformly [default: `[0, 1.5]`; of semseg `[1.1, 1.1]`].
    blur_sigma: Option<[f64; 2]>,
    /// Side of the blur's kernel in pixels, odd. If it is set, the image is blurred before it is
    /// cropped. Otherwise the crop is blurred, with a kernel of three standard deviations to each
    /// side [default: none; of semseg 5].
    blur_kernel: Option<usize>,
    /// Height and width of the crop in pixels: one number, or `[height, width]`. Its position is
    /// random, and areas outside the image are filled [default: 472].
    crop: Option<CropSize>,
    /// Random changes of the crop's colours [default: none; of mmsegmentation brightness 0.125,
    /// contrast 0.5, saturation 0.5, hue 0.1].
    jitter: Option<JitterConfig>,
    /// The largest share of a crop's labelled pixels that one class should have, mmsegmentation's
    /// `cat_max_ratio`. Other positions are drawn, up to nine times [default: none; of
    /// mmsegmentation 0.75].
    class_share: Option<f64>,
}

impl From<Written> for AugmentationConfig {
    fn from(written: Written) -> Self {
        let settings = match written {
            Written::Name(preset) => Settings { preset: Some(preset), ..Settings::default() },
            Written::Settings(settings) => settings,
        };
        let base = match settings.preset {
            None => Self::default(),
            Some(Preset::Semseg) => Self::semseg(),
            Some(Preset::Mmsegmentation) => Self::mmsegmentation(),
        };
        Self {
            flip: settings.flip.unwrap_or(base.flip),
            scale: settings.scale.unwrap_or(base.scale),
            rotation: settings.rotation.unwrap_or(base.rotation),
            rotation_probability: settings.rotation_probability.unwrap_or(base.rotation_probability),
            blur: settings.blur.unwrap_or(base.blur),
            blur_sigma: settings.blur_sigma.unwrap_or(base.blur_sigma),
            blur_kernel: settings.blur_kernel.or(base.blur_kernel),
            crop: settings.crop.unwrap_or(base.crop),
            jitter: settings.jitter.or(base.jitter),
            class_share: settings.class_share.or(base.class_share),
        }
    }
}

/// Written by hand, because errors of an untagged enum have no position.
impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrSettings;

        impl<'de> Visitor<'de> for NameOrSettings {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of settings, or `semseg` or `mmsegmentation`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Written, E> {
                Preset::deserialize(name.into_deserializer()).map(Written::Name)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Settings::deserialize(MapAccessDeserializer::new(map)).map(Written::Settings)
            }
        }

        deserializer.deserialize_any(NameOrSettings)
    }
}
