//! The changes that are drawn for one sample.

use crate::CropSize;
use crate::jitter::Jitter;

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
    /// The size of the crop.
    pub crop: CropSize,
    /// Changes of the crop's colours.
    pub jitter: Option<Jitter>,
}

impl AugmentationParameters {
    /// Only the centre crop of this size: a number for a square, or height and width.
    pub fn identity(crop: impl Into<CropSize>) -> Self {
        Self {
            flip: false,
            scale: 1.0,
            rotation: 0.0,
            sigma: 0.0,
            reach: None,
            place: [0.5; 2],
            crop: crop.into(),
            jitter: None,
        }
    }
}
