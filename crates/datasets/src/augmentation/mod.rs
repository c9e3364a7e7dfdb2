//! Random changes to training samples: the settings and the draws.

mod balance;
mod parameters;
mod written;

#[cfg(test)]
mod tests;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::crop::Crop;
use crate::jitter::JitterConfig;
use crate::{CropSize, Error, Result};
use balance::is_balanced;
pub use parameters::AugmentationParameters;
use written::Written;

/// The most positions that are drawn for one crop.
const DRAWS: u64 = 10;

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
    /// Height and width of the crop in pixels: one number, or `[height, width]`. Its position is
    /// random, and areas outside the image are filled.
    pub crop: CropSize,
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
            crop: 472.into(),
            jitter: None,
            class_share: None,
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
        self.crop.validate()
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
