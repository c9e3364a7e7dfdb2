//! Evaluation protocols: how an image becomes scores, as published programs do it.
//!
//! One file and one line in [`Protocol`] add a protocol. A protocol prepares images and labels
//! before an attack sees them, and turns prepared images into scores. Attacks perturb the prepared
//! image in `[0, 1]`, before the network normalises it, so the ball of epsilon has the resolution
//! of that image:
//!
//! | protocol | the image that attacks perturb |
//! |---|---|
//! | `whole_image` | the image of the dataset |
//! | `semseg`, `attack: protocol` | the image of the dataset, through scaling, padding, crops and averages |
//! | `semseg`, `attack: crops` | each crop of the scaled and padded image, alone |
//! | `sea` | the scaled and cut image |
//! | `multi_scale` | the image of the dataset, through all scales |

mod multi_scale;
mod pillow;
mod probabilities;
mod sea;
mod semseg;
mod whole_image;

use std::fmt;

use candle_core::Tensor;
use robustseg_attacks::Model;
use serde::{Deserialize, Serialize};

pub use multi_scale::MultiScale;
pub use sea::Sea;
pub use semseg::{AttackedPart, Semseg};
use whole_image::WholeImage;

use crate::window::Views;
use crate::{Error, Result};

/// How an evaluation turns images into scores.
///
/// ```
/// use robustseg_evaluation::{Protocol, Semseg};
///
/// let protocol = Protocol::Semseg(Semseg { long_side: 2048, crop: 713, ..Semseg::default() });
/// assert_eq!(protocol.name(), "semseg");
/// assert_eq!(
///     protocol.to_string(),
///     "semseg: long side 2048, crops of 713 every 476, attacked through the protocol"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The image unchanged, whole or as `window` says.
    #[default]
    WholeImage,
    /// The test of the program semseg and of DDC-AT: scaled, padded, in overlapping crops.
    Semseg(Semseg),
    /// The evaluation of SEA's authors: scaled and cut to a square.
    Sea(Sea),
    /// The average over scales of the whole image.
    MultiScale(MultiScale),
}

impl Protocol {
    fn rules(&self) -> &dyn Rules {
        match self {
            Self::WholeImage => &WholeImage,
            Self::Semseg(settings) => settings,
            Self::Sea(settings) => settings,
            Self::MultiScale(settings) => settings,
        }
    }

    /// Its name in specs and results.
    pub fn name(&self) -> &'static str {
        self.rules().name()
    }

    /// Whether this is the protocol of evaluations that name none.
    pub fn is_whole_image(&self) -> bool {
        *self == Self::WholeImage
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first such setting, for example `protocol.semseg.crop`.
    pub fn validate(&self) -> Result<()> {
        self.rules().validate()
    }

    /// Refuses settings that do not fit a model of `num_classes` classes.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first such setting.
    pub fn check_classes(&self, num_classes: usize) -> Result<()> {
        self.rules().check_classes(num_classes)
    }

    /// The inputs of the network for an image of `height` x `width` pixels, with all crops, scales
    /// and mirrored copies. Inputs of one size are together.
    pub fn views(&self, height: usize, width: usize) -> Vec<Views> {
        self.rules().views(height, width)
    }

    /// Those of [`Protocol::views`] that an attack holds in memory at once.
    pub fn attacked_views(&self, height: usize, width: usize) -> Vec<Views> {
        self.rules().attacked_views(height, width)
    }

    /// The `image` (N, 3, H, W) and `label` (N, H, W) that are attacked and scored.
    pub(crate) fn prepare(&self, image: &Tensor, label: &Tensor) -> Result<(Tensor, Tensor)> {
        self.rules().prepare(image, label)
    }

    /// The scores (N, h, w, K) of a prepared `image`, as logits. `padding` surrounds images that
    /// are too small.
    pub(crate) fn logits(
        &self,
        model: &dyn Model,
        image: &Tensor,
        padding: [f32; 3],
    ) -> candle_core::Result<Tensor> {
        self.rules().logits(model, image, padding)
    }

    /// Whether the network gets the prepared image itself, at its precision.
    pub(crate) fn passes_on(&self) -> bool {
        self.rules().passes_on()
    }

    /// The settings, if attacks perturb crops.
    pub(crate) fn attacked_in_crops(&self) -> Option<&Semseg> {
        match self {
            Self::Semseg(settings) if settings.attack == AttackedPart::Crops => Some(settings),
            _ => None,
        }
    }
}

/// As a phrase with the settings.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rules().words())
    }
}

/// What a protocol does.
trait Rules {
    fn name(&self) -> &'static str;

    /// Name and settings as a phrase.
    fn words(&self) -> String;

    fn validate(&self) -> Result<()> {
        Ok(())
    }

    fn check_classes(&self, _num_classes: usize) -> Result<()> {
        Ok(())
    }

    fn views(&self, height: usize, width: usize) -> Vec<Views>;

    fn attacked_views(&self, height: usize, width: usize) -> Vec<Views> {
        self.views(height, width)
    }

    fn prepare(&self, image: &Tensor, label: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((image.clone(), label.clone()))
    }

    fn logits(&self, model: &dyn Model, image: &Tensor, padding: [f32; 3]) -> candle_core::Result<Tensor>;

    fn passes_on(&self) -> bool {
        false
    }
}

fn refuse<T>(field: &'static str, reason: impl Into<String>) -> Result<T> {
    Err(Error::Setting { field, reason: reason.into() })
}

/// Refuses scales that are no positive numbers, or none at all.
fn check_scales(field: &'static str, scales: &[f64]) -> Result<()> {
    if scales.is_empty() {
        return refuse(field, "needs at least one scale");
    }
    match scales.iter().find(|scale| !(scale.is_finite() && (0.05..=20.0).contains(*scale))) {
        None => Ok(()),
        Some(scale) => refuse(field, format!("found {scale}; a scale is between 0.05 and 20")),
    }
}

/// The largest side that a setting may ask for. Beyond it no image fits into memory.
const LARGEST: usize = 1 << 16;

fn check_size(field: &'static str, size: usize) -> Result<()> {
    if (1..=LARGEST).contains(&size) {
        return Ok(());
    }
    refuse(field, format!("found {size}; must be between 1 and {LARGEST} pixels"))
}

/// Scales as a phrase, empty for the scale 1 alone.
fn scales_in_words(scales: &[f64]) -> String {
    if scales == [1.0] {
        return String::new();
    }
    let all: Vec<String> = scales.iter().map(f64::to_string).collect();
    format!(", scales {}", all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(views: &[Views]) -> Vec<[usize; 3]> {
        views.iter().map(|views| [views.count, views.height, views.width]).collect()
    }

    #[test]
    fn views_are_the_inputs_of_the_network() {
        let multi_scale = Protocol::MultiScale(MultiScale { scales: vec![0.5, 2.0], flip: true });
        assert_eq!(sizes(&multi_scale.views(9, 14)), [[2, 5, 7], [2, 18, 28]]);
        // 36 x 24 pixels in crops of 15 every 10: at 0, 10, 20 and 21, and at 0 and 9.
        let semseg = Semseg { long_side: 36, crop: 15, ..Semseg::default() };
        assert_eq!(sizes(&Protocol::Semseg(semseg.clone()).views(18, 12)), [[8, 15, 15]]);
        let crops = Protocol::Semseg(Semseg { attack: AttackedPart::Crops, flip: true, ..semseg });
        assert_eq!(sizes(&crops.views(18, 12)), [[16, 15, 15]]);
        assert_eq!(sizes(&crops.attacked_views(18, 12)), [[2, 15, 15]]);
        let sea = Protocol::Sea(Sea { size: 7, void_class: None });
        assert_eq!(sizes(&sea.attacked_views(18, 12)), [[1, 7, 7]]);
    }
}
