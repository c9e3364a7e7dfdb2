//! Random changes to training samples: what is drawn.

use std::fmt;

use rand::RngExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// The paper's augmentation (sec. 4.1.2): horizontal flip, resize, rotation, blur, crop. The paper gives no number for flip
/// and blur; both happen to every second sample here. The blur's standard deviation is drawn from 0 to 1.5 pixels, and the
/// blur sees the crop alone.
///
/// PSPNet's authors (hszhao/semseg), whose training the paper follows elsewhere, do it otherwise: they rotate every second
/// sample, and blur with a kernel of 5 x 5 and a standard deviation of 1.1 before they crop. That is
/// [`AugmentationConfig::semseg`], in a spec `augmentation: semseg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "Written")]
pub struct AugmentationConfig {
    /// Whether every second sample, by chance, is mirrored.
    pub flip: bool,
    /// Smallest and largest factor of resizing, drawn evenly; `[1, 1]` leaves the size.
    pub scale: [f64; 2],
    /// Largest rotation to either side, in degrees, drawn evenly; 0 rotates nothing.
    pub rotation: f64,
    /// Probability with which a sample is rotated.
    pub rotation_probability: f64,
    /// Whether every second sample, by chance, is blurred.
    pub blur: bool,
    /// Smallest and largest standard deviation of the Gaussian blur, in pixels of the crop, drawn evenly.
    pub blur_sigma: [f64; 2],
    /// Side of the blur's kernel in pixels, odd. With one the image is blurred before it is cropped; without, the crop is
    /// blurred, and the kernel reaches to three standard deviations.
    pub blur_kernel: Option<usize>,
    /// Height and width of the crop, in pixels, at a random place; what lies outside the image is filled.
    pub crop: usize,
}

impl Default for AugmentationConfig {
    /// The paper's for PASCAL VOC.
    fn default() -> Self {
        Self {
            flip: true,
            scale: [0.5, 2.0],
            rotation: 10.0,
            rotation_probability: 1.0,
            blur: true,
            blur_sigma: [0.0, 1.5],
            blur_kernel: None,
            crop: 472,
        }
    }
}

/// Augmentation by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Preset {
    /// That of PSPNet's authors: half of the samples rotated, half blurred by a 5 x 5 kernel of standard deviation 1.1 before
    /// the crop.
    Semseg,
}

/// Augmentation as a spec writes it: a name, or settings, those of a preset where it names one.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(untagged))]
enum Written {
    Name(Preset),
    Settings(Settings),
}

/// The settings of [`AugmentationConfig`], each as the preset has it if it is missing; without a preset, as in the paper.
#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Where the other settings come from [default: the paper's].
    preset: Option<Preset>,
    /// Whether every second sample, by chance, is mirrored [default: true].
    flip: Option<bool>,
    /// Smallest and largest factor of resizing, drawn evenly; `[1, 1]` leaves the size [default: `[0.5, 2]`].
    scale: Option<[f64; 2]>,
    /// Largest rotation to either side, in degrees, drawn evenly; 0 rotates nothing [default: 10].
    rotation: Option<f64>,
    /// Probability with which a sample is rotated [default: 1; of semseg 0.5].
    rotation_probability: Option<f64>,
    /// Whether every second sample, by chance, is blurred [default: true].
    blur: Option<bool>,
    /// Smallest and largest standard deviation of the Gaussian blur, in pixels of the crop, drawn evenly
    /// [default: `[0, 1.5]`; of semseg `[1.1, 1.1]`].
    blur_sigma: Option<[f64; 2]>,
    /// Side of the blur's kernel in pixels, odd. With one the image is blurred before it is cropped; without, the crop is
    /// blurred, and the kernel reaches to three standard deviations [default: none; of semseg 5].
    blur_kernel: Option<usize>,
    /// Height and width of the crop, in pixels, at a random place; what lies outside the image is filled [default: 472].
    crop: Option<usize>,
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
        }
    }
}

/// By hand: an untagged enum's errors do not say where they are.
impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrSettings;

        impl<'de> Visitor<'de> for NameOrSettings {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of settings, or `semseg`")
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

/// What happens to one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AugmentationParameters {
    /// Mirror it from left to right.
    pub flip: bool,
    /// Multiply height and width.
    pub scale: f64,
    /// Rotate it around its centre, in degrees, clockwise on the screen.
    pub rotation: f64,
    /// Standard deviation of the blur in pixels of the crop; 0 does not blur.
    pub sigma: f64,
    /// Pixels from the middle of the blur's kernel to its end, as many of which the blur sees around the crop. Without, three
    /// standard deviations, and it sees the crop alone.
    pub reach: Option<usize>,
    /// Place of the crop, down and right: 0 is at the first row or column, 0.5 in the middle, up to, but not 1. A side
    /// that is shorter than the crop is in its middle, whatever the place.
    pub place: [f64; 2],
    /// Height and width of the crop.
    pub crop: usize,
}

impl AugmentationParameters {
    /// Nothing but the centre crop of `crop` x `crop` pixels.
    pub fn identity(crop: usize) -> Self {
        Self { flip: false, scale: 1.0, rotation: 0.0, sigma: 0.0, reach: None, place: [0.5; 2], crop }
    }
}

impl AugmentationConfig {
    /// What PSPNet's authors do, but for the order of flip and blur, which changes nothing, and the edge of the image: the
    /// blur mixes in what it is filled with, where theirs mirrors the image. Their crop is 473; this one keeps to multiples of 8.
    pub fn semseg() -> Self {
        Self { rotation_probability: 0.5, blur_sigma: [1.1; 2], blur_kernel: Some(5), ..Self::default() }
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Setting`] that names the key.
    pub fn validate(&self) -> Result<()> {
        let fault = |setting, reason| Err(Error::Setting { setting, reason });
        let [low, high] = self.scale;
        if !(0.05..=high).contains(&low) || high > 20.0 {
            return fault("scale", format!("[{low}, {high}] must go from 0.05 or more up to 20 or less"));
        }
        if !(0.0..=180.0).contains(&self.rotation) {
            return fault("rotation", format!("{} must be from 0 to 180 degrees", self.rotation));
        }
        if !(0.0..=1.0).contains(&self.rotation_probability) {
            return fault(
                "rotation_probability",
                format!("{} must be from 0 to 1", self.rotation_probability),
            );
        }
        let [low, high] = self.blur_sigma;
        if !(0.0..=high).contains(&low) || high > 10.0 {
            return fault("blur_sigma", format!("[{low}, {high}] must go from 0 or more up to 10 or less"));
        }
        if let Some(kernel) = self.blur_kernel
            && (kernel.is_multiple_of(2) || !(3..=63).contains(&kernel))
        {
            return fault("blur_kernel", format!("{kernel} must be an odd number from 3 to 63"));
        }
        if !(8..=8192).contains(&self.crop) {
            return fault("crop", format!("{} must be from 8 to 8192 pixels", self.crop));
        }
        Ok(())
    }

    /// What happens to the sample `index` in `epoch`. Depends on the arguments and these settings alone; switching one
    /// part off does not change what is drawn for another.
    pub fn draw(&self, seed: u64, epoch: u64, index: u64) -> AugmentationParameters {
        let mut random = robustseg_random::stream(seed, "augmentation", [epoch, index, 0]);
        let mut unit = || random.random::<f64>();
        let between = |low: f64, high: f64, unit: f64| low + (high - low) * unit;
        let flip = unit() < 0.5;
        let scale = between(self.scale[0], self.scale[1], unit());
        let rotation = between(-self.rotation, self.rotation, unit());
        let (blur, sigma) = (unit() < 0.5, between(self.blur_sigma[0], self.blur_sigma[1], unit()));
        let place = [unit(), unit()];
        let rotated = unit() < self.rotation_probability;
        AugmentationParameters {
            flip: self.flip && flip,
            scale,
            rotation: if rotated { rotation } else { 0.0 },
            sigma: if self.blur && blur { sigma } else { 0.0 },
            reach: self.blur_kernel.map(|side| side / 2),
            place,
            crop: self.crop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_a_function_of_seed_epoch_and_index_within_the_settings() {
        let config = AugmentationConfig::default();
        let mut flips = 0;
        for index in 0..500 {
            let drawn = config.draw(3, 1, index);
            assert_eq!(drawn, config.draw(3, 1, index));
            assert!((0.5..=2.0).contains(&drawn.scale) && (-10.0..=10.0).contains(&drawn.rotation));
            assert!((0.0..1.5).contains(&drawn.sigma) && drawn.place.iter().all(|p| (0.0..1.0).contains(p)));
            flips += usize::from(drawn.flip);
        }
        assert!((200..300).contains(&flips), "{flips}");
        for other in [config.draw(4, 1, 0), config.draw(3, 2, 0), config.draw(3, 1, 1)] {
            assert_ne!(other, config.draw(3, 1, 0));
        }
    }

    #[test]
    fn semseg_rotates_and_blurs_half_of_the_samples_and_always_blurs_alike() {
        let config = AugmentationConfig::semseg();
        let drawn: Vec<_> = (0..1000).map(|index| config.draw(3, 1, index)).collect();
        let share = |is: fn(&AugmentationParameters) -> bool| drawn.iter().filter(|drawn| is(drawn)).count();
        assert!((440..560).contains(&share(|drawn| drawn.rotation != 0.0)));
        assert!((440..560).contains(&share(|drawn| drawn.sigma > 0.0)));
        assert!(
            (200..300).contains(&share(|drawn| drawn.sigma > 0.0 && drawn.rotation != 0.0)),
            "each by itself"
        );
        assert!(drawn.iter().all(|drawn| [0.0, 1.1].contains(&drawn.sigma) && drawn.reach == Some(2)));
        assert!(drawn.iter().any(|drawn| drawn.rotation.abs() > 9.0));
    }

    #[test]
    fn a_preset_is_named_alone_or_with_settings_of_its_own() {
        let read = |text: &str| serde_yaml::from_str::<AugmentationConfig>(text);
        let semseg = AugmentationConfig::semseg();
        assert_eq!(read("semseg").unwrap(), semseg);
        let smaller = AugmentationConfig { crop: 64, ..semseg.clone() };
        assert_eq!(read("{preset: semseg, crop: 64}").unwrap(), smaller);
        assert_eq!(read("{}").unwrap(), AugmentationConfig::default());
        let flat = AugmentationConfig { rotation: 0.0, blur: false, ..AugmentationConfig::default() };
        assert_eq!(read("{rotation: 0, blur: false}").unwrap(), flat);
        for config in [semseg, flat] {
            let written = serde_yaml::to_string(&config).unwrap();
            assert_eq!(read(&written).unwrap(), config, "what is written is read as the same: {written}");
        }
        let refusal = |text: &str| read(text).unwrap_err().to_string();
        assert!(refusal("pspnet").contains("expected one of semseg"), "{}", refusal("pspnet"));
        assert!(refusal("{blurr: true}").contains("blurr"), "{}", refusal("{blurr: true}"));
        assert!(refusal("3").contains("a map of settings, or `semseg`"), "{}", refusal("3"));
    }

    #[test]
    fn each_part_can_be_switched_off_and_leaves_the_others_alone() {
        let full = AugmentationConfig::default();
        let off = AugmentationConfig {
            flip: false,
            scale: [1.0; 2],
            rotation: 0.0,
            blur: false,
            crop: 32,
            ..AugmentationConfig::default()
        };
        for index in 0..50 {
            let place = full.draw(0, 0, index).place;
            let expected = AugmentationParameters { place, ..AugmentationParameters::identity(32) };
            assert_eq!(off.draw(0, 0, index), expected);
        }
    }

    #[test]
    fn each_setting_out_of_range_is_named() {
        let good = AugmentationConfig::default;
        assert!(good().validate().is_ok());
        for (key, bad) in [
            ("scale", AugmentationConfig { scale: [2.0, 0.5], ..good() }),
            ("scale", AugmentationConfig { scale: [0.0, 0.5], ..good() }),
            ("scale", AugmentationConfig { scale: [f64::NAN, 0.5], ..good() }),
            ("scale", AugmentationConfig { scale: [0.5, f64::INFINITY], ..good() }),
            ("rotation", AugmentationConfig { rotation: -1.0, ..good() }),
            ("rotation", AugmentationConfig { rotation: f64::NAN, ..good() }),
            ("rotation_probability", AugmentationConfig { rotation_probability: 1.1, ..good() }),
            ("blur_sigma", AugmentationConfig { blur_sigma: [1.0, 0.5], ..good() }),
            ("blur_sigma", AugmentationConfig { blur_sigma: [0.0, f64::NAN], ..good() }),
            ("blur_kernel", AugmentationConfig { blur_kernel: Some(4), ..good() }),
            ("blur_kernel", AugmentationConfig { blur_kernel: Some(1), ..good() }),
            ("crop", AugmentationConfig { crop: 0, ..good() }),
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{key}: ")), "{message}");
        }
    }
}
