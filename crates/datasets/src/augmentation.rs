//! Random changes to training samples: the settings and the draws.

use std::fmt;

use rand::RngExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::crop::Crop;
use crate::image::IGNORE_LABEL;
use crate::jitter::{Jitter, JitterConfig};
use crate::{Error, Result};

/// The paper's augmentation (sec. 4.1.2): horizontal flip, resize, rotation, blur, crop. The paper
/// gives no probability for flip and blur; here each applies to half of the samples at random. The
/// blur's standard deviation is drawn from 0 to 1.5 pixels, and the blur uses only the pixels of
/// the crop.
///
/// PSPNet's authors (hszhao/semseg), whose training the paper follows elsewhere, do it differently.
/// They rotate half of the samples, and blur before cropping, with a kernel of 5 x 5 and a standard
/// deviation of 1.1. That is [`AugmentationConfig::semseg`], in a spec `augmentation: semseg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "Written")]
pub struct AugmentationConfig {
    /// Whether to mirror half of the samples at random.
    pub flip: bool,
    /// Smallest and largest resize factor, drawn uniformly. `[1, 1]` keeps the size.
    pub scale: [f64; 2],
    /// Largest rotation to either side in degrees, drawn uniformly. 0 disables rotation.
    pub rotation: f64,
    /// Probability of rotating a sample.
    pub rotation_probability: f64,
    /// Whether to blur half of the samples at random.
    pub blur: bool,
    /// Smallest and largest standard deviation of the Gaussian blur, in pixels of the crop, drawn
    /// uniformly.
    pub blur_sigma: [f64; 2],
    /// Side of the blur's kernel in pixels, odd. If it is set, the image is blurred before it is
    /// cropped. Otherwise the crop is blurred, with a kernel of three standard deviations to each
    /// side.
    pub blur_kernel: Option<usize>,
    /// Height and width of the crop in pixels. Its position is random, and areas outside the image
    /// are filled.
    pub crop: usize,
    /// Random changes of the crop's colours. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<JitterConfig>,
    /// The largest share of the labelled pixels of a crop that one class should have, as
    /// mmsegmentation's `cat_max_ratio`: another position is drawn up to nine times until no class
    /// has more, and each draw reads the sample again. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_share: Option<f64>,
}

impl Default for AugmentationConfig {
    /// The paper's settings for PASCAL VOC.
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
            jitter: None,
            class_share: None,
        }
    }
}

/// Names of augmentation presets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Preset {
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
enum Written {
    Name(Preset),
    Settings(Settings),
}

/// The settings of [`AugmentationConfig`]. Missing settings come from the preset, or from the paper
/// without a preset.
#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
struct Settings {
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
    /// Height and width of the crop in pixels, at a random position; areas outside the image are
    /// filled [default: 472].
    crop: Option<usize>,
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

/// The changes to one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AugmentationParameters {
    /// Whether to mirror it from left to right.
    pub flip: bool,
    /// Factor for height and width.
    pub scale: f64,
    /// Rotation around the centre in degrees, clockwise on the screen.
    pub rotation: f64,
    /// Standard deviation of the blur in pixels of the crop. 0 disables it.
    pub sigma: f64,
    /// Pixels from the centre of the blur's kernel to its edge. The blur then uses as many pixels
    /// around the crop. `None` means three standard deviations, within the crop only.
    pub reach: Option<usize>,
    /// Position of the crop, down and right, in [0, 1): 0 is at the first row or column, 0.5 in the
    /// middle. A side shorter than the crop is centred in it, whatever the position.
    pub place: [f64; 2],
    /// Height and width of the crop.
    pub crop: usize,
    /// Changes of the crop's colours.
    pub jitter: Option<Jitter>,
}

impl AugmentationParameters {
    /// Only the centre crop of `crop` x `crop` pixels.
    pub fn identity(crop: usize) -> Self {
        Self {
            flip: false,
            scale: 1.0,
            rotation: 0.0,
            sigma: 0.0,
            reach: None,
            place: [0.5; 2],
            crop,
            jitter: None,
        }
    }
}

impl AugmentationConfig {
    /// The augmentation of PSPNet's authors, with three differences. The order of flip and blur
    /// differs, which changes nothing. At the edge of the image, the blur mixes in the fill colour,
    /// where theirs mirrors the image. Their crop is 473; this one is a multiple of 8.
    pub fn semseg() -> Self {
        Self { rotation_probability: 0.5, blur_sigma: [1.1; 2], blur_kernel: Some(5), ..Self::default() }
    }

    /// The augmentation of mmsegmentation's configurations, with two differences: colours change by
    /// factors in a fixed order, where theirs change by sums and factors, each with a probability of
    /// one half, and their crops have the sizes of their configurations.
    pub fn mmsegmentation() -> Self {
        let jitter = JitterConfig { brightness: 0.125, contrast: 0.5, saturation: 0.5, hue: 0.1 };
        Self { rotation: 0.0, blur: false, jitter: Some(jitter), class_share: Some(0.75), ..Self::default() }
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
        if let Some(jitter) = self.jitter {
            jitter.validate()?;
        }
        if let Some(share) = self.class_share
            && !(share > 0.0 && share <= 1.0)
        {
            return fault("class_share", format!("{share} must be above 0 and at most 1"));
        }
        if !(8..=8192).contains(&self.crop) {
            return fault("crop", format!("{} must be from 8 to 8192 pixels", self.crop));
        }
        Ok(())
    }

    /// The changes to the sample `index` in `epoch`. They depend only on the arguments and these
    /// settings. Disabling one part does not change the draws of the others.
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
        let jitter = self.jitter.map(|jitter| jitter.draw(&mut unit));
        AugmentationParameters {
            flip: self.flip && flip,
            scale,
            rotation: if rotated { rotation } else { 0.0 },
            sigma: if self.blur && blur { sigma } else { 0.0 },
            reach: self.blur_kernel.map(|side| side / 2),
            place,
            crop: self.crop,
            jitter,
        }
    }

    /// The crop of the sample `index` in `epoch` that `load` makes of the drawn parameters, and the
    /// parameters. With a [`class_share`](Self::class_share), further positions are drawn until the
    /// labels of the crop keep it, at most ten in all.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn crop_with<E>(
        &self,
        [seed, epoch, index]: [u64; 3],
        mut load: impl FnMut(&AugmentationParameters) -> Result<Crop, E>,
    ) -> Result<(AugmentationParameters, Crop), E> {
        let mut parameters = self.draw(seed, epoch, index);
        let mut crop = load(&parameters)?;
        let Some(share) = self.class_share else { return Ok((parameters, crop)) };
        for attempt in 1..DRAWS {
            if is_balanced(&crop.label, share) {
                break;
            }
            let mut random = robustseg_random::stream(seed, "augmentation", [epoch, index, attempt]);
            parameters.place = [random.random(), random.random()];
            crop = load(&parameters)?;
        }
        Ok((parameters, crop))
    }
}

/// The most positions that are drawn for one crop.
const DRAWS: u64 = 10;

/// Whether several classes are labelled, none with more than `share` of the labelled pixels.
fn is_balanced(label: &[u8], share: f64) -> bool {
    let mut counts = [0_usize; 256];
    for label in label {
        counts[usize::from(*label)] += 1;
    }
    let classes = &counts[..usize::from(IGNORE_LABEL)];
    let (all, most) = (classes.iter().sum::<usize>(), classes.iter().copied().max().unwrap_or(0));
    most < all && most as f64 <= share * all as f64
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
        assert_eq!(read("mmsegmentation").unwrap(), AugmentationConfig::mmsegmentation());
        for config in [semseg, flat, AugmentationConfig::mmsegmentation()] {
            let written = serde_yaml::to_string(&config).unwrap();
            assert_eq!(read(&written).unwrap(), config, "what is written is read as the same: {written}");
        }
        let refusal = |text: &str| read(text).unwrap_err().to_string();
        assert!(refusal("pspnet").contains("semseg"), "{}", refusal("pspnet"));
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
    fn a_crop_of_one_class_is_drawn_again_until_the_share_is_kept() {
        let config = AugmentationConfig { class_share: Some(0.75), ..AugmentationConfig::default() };
        let labels = |shares: &[(u8, usize)]| {
            let label = shares.iter().flat_map(|(label, count)| vec![*label; *count]).collect();
            Ok::<_, Error>(Crop { image: Vec::new(), label })
        };
        // The fourth draw keeps the share.
        let mut places = Vec::new();
        let (drawn, crop) = config
            .crop_with([1, 2, 3], |parameters| {
                places.push(parameters.place);
                match places.len() {
                    1 => labels(&[(0, 100)]),
                    2 => labels(&[(0, 76), (1, 24)]),
                    3 => labels(&[(0, 80), (1, 20), (IGNORE_LABEL, 900)]),
                    _ => labels(&[(0, 75), (1, 25), (IGNORE_LABEL, 5)]),
                }
            })
            .unwrap();
        assert_eq!((places.len(), drawn.place, crop.label.len()), (4, places[3], 105));
        assert_eq!(AugmentationParameters { place: places[0], ..drawn }, config.draw(1, 2, 3));
        for (index, place) in places.iter().enumerate() {
            assert!(!places[..index].contains(place));
        }
        // It ends, and without the setting there is one draw.
        for (share, expected) in [(Some(0.75), 10), (None, 1)] {
            let mut count = 0;
            let config = AugmentationConfig { class_share: share, ..config.clone() };
            config
                .crop_with([1, 2, 3], |_| {
                    count += 1;
                    labels(&[(IGNORE_LABEL, 9)])
                })
                .unwrap();
            assert_eq!(count, expected);
        }
    }

    #[test]
    fn new_settings_change_no_other_draw() {
        let plain = AugmentationConfig::default();
        let with =
            AugmentationConfig { jitter: AugmentationConfig::mmsegmentation().jitter, ..plain.clone() };
        for index in 0..20 {
            let drawn = with.draw(1, 2, index);
            assert!(drawn.jitter.is_some());
            assert_eq!(AugmentationParameters { jitter: None, ..drawn }, plain.draw(1, 2, index));
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
            ("class_share", AugmentationConfig { class_share: Some(0.0), ..good() }),
            ("class_share", AugmentationConfig { class_share: Some(f64::NAN), ..good() }),
            (
                "jitter",
                AugmentationConfig {
                    jitter: Some(JitterConfig { hue: 2.0, ..JitterConfig::default() }),
                    ..good()
                },
            ),
            ("crop", AugmentationConfig { crop: 0, ..good() }),
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{key}: ")), "{message}");
        }
    }
}
