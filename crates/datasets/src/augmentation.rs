//! Random changes to training samples: what is drawn.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Largest standard deviation of the blur, in pixels of the crop.
const MAX_SIGMA: f64 = 1.5;

/// The paper's augmentation (sec. 4.1.2), in its order: horizontal flip, resize, rotation, blur, crop. Where the paper
/// gives no number, PSPNet's practice is taken: each flip and blur with probability 0.5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationConfig {
    /// Whether every second sample, by chance, is mirrored.
    pub flip: bool,
    /// Smallest and largest factor of resizing, drawn evenly; `[1, 1]` leaves the size.
    pub scale: [f64; 2],
    /// Largest rotation to either side, in degrees, drawn evenly; 0 rotates nothing.
    pub rotation: f64,
    /// Whether every second sample, by chance, is blurred: Gaussian, standard deviation drawn from 0 to 1.5 pixels.
    pub blur: bool,
    /// Height and width of the crop, in pixels, at a random place; what lies outside the image is filled.
    pub crop: usize,
}

impl Default for AugmentationConfig {
    /// The paper's for PASCAL VOC.
    fn default() -> Self {
        Self { flip: true, scale: [0.5, 2.0], rotation: 10.0, blur: true, crop: 472 }
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
    /// Place of the crop, down and right: 0 is at the first row or column, 0.5 in the middle, up to, but not 1. A side
    /// that is shorter than the crop is in its middle, whatever the place.
    pub place: [f64; 2],
    /// Height and width of the crop.
    pub crop: usize,
}

impl AugmentationParameters {
    /// Nothing but the centre crop of `crop` x `crop` pixels.
    pub fn identity(crop: usize) -> Self {
        Self { flip: false, scale: 1.0, rotation: 0.0, sigma: 0.0, place: [0.5; 2], crop }
    }
}

impl AugmentationConfig {
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
        let (blur, sigma) = (unit() < 0.5, between(0.0, MAX_SIGMA, unit()));
        AugmentationParameters {
            flip: self.flip && flip,
            scale,
            rotation,
            sigma: if self.blur && blur { sigma } else { 0.0 },
            place: [unit(), unit()],
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
    fn each_part_can_be_switched_off_and_leaves_the_others_alone() {
        let full = AugmentationConfig::default();
        let off = AugmentationConfig { flip: false, scale: [1.0; 2], rotation: 0.0, blur: false, crop: 32 };
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
            ("crop", AugmentationConfig { crop: 0, ..good() }),
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{key}: ")), "{message}");
        }
    }
}
