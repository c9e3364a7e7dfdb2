//! Random changes of an image's colours.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How far colours may change, as in torchvision's `ColorJitter`. A part of 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct JitterConfig {
    /// The factor on all values is drawn from 1 - `brightness` to 1 + `brightness`.
    pub brightness: f64,
    /// The factor on distances from the mean gray of the crop, drawn alike.
    pub contrast: f64,
    /// The factor on distances from each pixel's gray, drawn alike.
    pub saturation: f64,
    /// The turn of the hue is drawn from -`hue` to `hue`, where 1 is a full circle.
    pub hue: f64,
}

impl JitterConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        let Self { brightness, contrast, saturation, hue } = *self;
        let parts =
            [("brightness", brightness, 1.0), ("contrast", contrast, 1.0), ("saturation", saturation, 1.0)];
        for (part, value, most) in parts.into_iter().chain([("hue", hue, 0.5)]) {
            if !(0.0..=most).contains(&value) {
                let reason = format!("{part} is {value}, which must be from 0 to {most}");
                return Err(Error::Setting { setting: "jitter", reason });
            }
        }
        Ok(())
    }

    /// The changes that numbers from 0 to 1 draw.
    pub(crate) fn draw(&self, mut unit: impl FnMut() -> f64) -> Jitter {
        let mut around = |centre: f64, reach: f64| (centre - reach + 2.0 * reach * unit()) as f32;
        Jitter {
            brightness: around(1.0, self.brightness),
            contrast: around(1.0, self.contrast),
            saturation: around(1.0, self.saturation),
            hue: around(0.0, self.hue),
        }
    }
}

/// The changes of one image's colours, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Factor on all values.
    pub brightness: f32,
    /// Factor on distances from the mean gray.
    pub contrast: f32,
    /// Factor on distances from each pixel's gray.
    pub saturation: f32,
    /// Turn of the hue in circles.
    pub hue: f32,
}

impl Jitter {
    /// Changes the colours of `image`, (3, H, W) with values in `[0, 1]`, which they stay in.
    pub(crate) fn apply(&self, image: &mut [f32]) {
        let Self { brightness, contrast, saturation, hue } = *self;
        let area = image.len() / 3;
        let (red, rest) = image.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let pixels = || 0..area;
        let blend =
            |value: f32, other: f32, share: f32| (share * value + (1.0 - share) * other).clamp(0.0, 1.0);
        for at in pixels() {
            for channel in [&mut *red, &mut *green, &mut *blue] {
                channel[at] = (channel[at] * brightness).clamp(0.0, 1.0);
            }
        }
        // The order of the sum is fixed, so that every machine has the same mean.
        let mean = pixels().map(|at| f64::from(gray(red[at], green[at], blue[at]))).sum::<f64>();
        let mean = (mean / area.max(1) as f64) as f32;
        for at in pixels() {
            let [r, g, b] = [red[at], green[at], blue[at]].map(|value| blend(value, mean, contrast));
            let own = gray(r, g, b);
            let [r, g, b] = [r, g, b].map(|value| blend(value, own, saturation));
            [red[at], green[at], blue[at]] = if hue == 0.0 { [r, g, b] } else { turned([r, g, b], hue) };
        }
    }
}

/// The brightness of a colour, by ITU-R 601.
fn gray(red: f32, green: f32, blue: f32) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

/// The colour with its hue turned by `turn` circles.
fn turned([red, green, blue]: [f32; 3], turn: f32) -> [f32; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return [red, green, blue];
    }
    // Sixths of a circle from red.
    let hue = if red >= green && red >= blue {
        (green - blue) / range
    } else if green >= blue {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    let hue = (hue + 6.0 * turn).rem_euclid(6.0);
    // A channel falls from the largest value to the smallest between 1 and 2 sixths from its own hue.
    let channel = |own: f32| {
        let away = (hue - own).abs();
        let away = away.min(6.0 - away);
        most - range * (away - 1.0).clamp(0.0, 1.0)
    };
    [channel(0.0), channel(2.0), channel(4.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pixels: (0.2, 0.4, 0.9) and (0.7, 0.1, 0.3).
    const IMAGE: [f32; 6] = [0.2, 0.7, 0.4, 0.1, 0.9, 0.3];

    const NONE: Jitter = Jitter { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.0 };

    fn changed(jitter: Jitter) -> [f32; 6] {
        let mut image = IMAGE;
        jitter.apply(&mut image);
        image
    }

    /// The values are those of `torchvision.transforms.functional.adjust_*`, one after the other, of
    /// version 0.26.
    #[test]
    fn the_colours_are_those_of_torchvision() {
        for (jitter, expected) in [
            (Jitter { brightness: 1.3, ..NONE }, BRIGHTNESS),
            (Jitter { contrast: 0.6, ..NONE }, CONTRAST),
            (Jitter { saturation: 1.5, ..NONE }, SATURATION),
            (Jitter { hue: 0.15, ..NONE }, HUE),
            (Jitter { hue: -0.4, ..NONE }, HUE_BACK),
            (Jitter { brightness: 0.8, contrast: 1.4, saturation: 0.5, hue: 0.3 }, ALL),
        ] {
            for (found, expected) in changed(jitter).into_iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{jitter:?}: {found} {expected}");
            }
        }
        assert_eq!(changed(NONE), IMAGE);
    }

    const BRIGHTNESS: [f32; 6] = [0.26, 0.91, 0.52, 0.13, 1.0, 0.39];
    const CONTRAST: [f32; 6] = [0.259_862, 0.559_862, 0.379_862, 0.199_862, 0.679_862, 0.319_862];
    const SATURATION: [f32; 6] = [0.101_41, 0.898_935, 0.401_41, 0.0, 1.0, 0.298_935];
    const HUE: [f32; 6] = [0.629_999_8, 0.7, 0.2, 0.439_999_8, 0.9, 0.1];
    const HUE_BACK: [f32; 6] = [0.679_999_9, 0.1, 0.9, 0.54, 0.2, 0.7];
    const ALL: [f32; 6] = [0.614_536_8, 0.292_508_9, 0.222_536_8, 0.449_308_8, 0.412_936_7, 0.113_308_8];

    #[test]
    fn a_full_circle_and_gray_change_nothing() {
        for (found, expected) in changed(Jitter { hue: 1.0, ..NONE }).into_iter().zip(IMAGE) {
            assert!((found - expected).abs() < 1e-6);
        }
        let mut gray = [0.5; 9];
        Jitter { hue: 0.3, saturation: 1.7, ..NONE }.apply(&mut gray);
        assert!(gray.iter().all(|value| (value - 0.5).abs() < 1e-4), "{gray:?}");
    }

    #[test]
    fn draws_stay_within_the_settings_and_bad_settings_are_named() {
        let config = JitterConfig { brightness: 0.4, hue: 0.1, ..JitterConfig::default() };
        for unit in [0.0, 0.5, 0.999] {
            let Jitter { brightness, contrast, saturation, hue } = config.draw(|| unit);
            assert!((0.6..=1.4).contains(&brightness) && (-0.1..=0.1).contains(&hue));
            assert_eq!((contrast, saturation), (1.0, 1.0));
        }
        for bad in [
            JitterConfig { brightness: 1.5, ..config },
            JitterConfig { contrast: -0.1, ..config },
            JitterConfig { saturation: f64::NAN, ..config },
            JitterConfig { hue: 0.6, ..config },
        ] {
            assert!(bad.validate().unwrap_err().to_string().starts_with("jitter: "));
        }
    }
}
