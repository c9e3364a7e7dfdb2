//! The evaluation of SEA's authors (Croce, Singh, Hein, ECCV 2024).
//!
//! Their loader scales the short side to `size` and cuts the square in the centre, before any
//! attack: the image with Pillow's bilinear filter, rounded to 8 bits, the label to the nearest
//! pixel. On PASCAL VOC it reads label files by colour and leaves class 0 wherever it knows no
//! colour. The void around objects is therefore background.

use candle_core::{DType, Tensor};
use robustseg_attacks::{IGNORE_LABEL, Model};
use serde::{Deserialize, Serialize};

use super::pillow;
use super::{Rules, check_size, refuse};
use crate::Result;
use crate::window::Views;

/// The settings of SEA's evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sea {
    /// The length to which the image's shorter side is scaled, and the side of the square: 473 for
    /// PASCAL VOC, 512 for ADE20K.
    pub size: usize,
    /// The class of pixels without a label: 0, the background, for PASCAL VOC. `null` leaves them
    /// out of scores and attacks.
    pub void_class: Option<u8>,
}

impl Default for Sea {
    fn default() -> Self {
        Self { size: 473, void_class: Some(0) }
    }
}

impl Sea {
    /// Height and width after scaling, and top and left of the square.
    fn layout(&self, [height, width]: [usize; 2]) -> ([usize; 2], [usize; 2]) {
        let long = |long_side: usize, short_side: usize| {
            (long_side as f64 * self.size as f64 / short_side as f64) as usize
        };
        let scaled = if width > height {
            [self.size, long(width, height).max(self.size)]
        } else {
            [long(height, width).max(self.size), self.size]
        };
        (scaled, scaled.map(|side| ((side - self.size) as f64 / 2.0).round_ties_even() as usize))
    }
}

impl Rules for Sea {
    fn name(&self) -> &'static str {
        "sea"
    }

    fn words(&self) -> String {
        let void = self.void_class.map_or("left out".into(), |class| format!("as class {class}"));
        format!("sea: short side {0}, centre crop {0}, unlabelled pixels {void}", self.size)
    }

    fn validate(&self) -> Result<()> {
        check_size("protocol.sea.size", self.size)
    }

    fn check_classes(&self, num_classes: usize) -> Result<()> {
        match self.void_class {
            Some(class) if usize::from(class) >= num_classes => refuse(
                "protocol.sea.void_class",
                format!("found {class}, but the model has {num_classes} classes (0 to {})", num_classes - 1),
            ),
            _ => Ok(()),
        }
    }

    fn views(&self, _: usize, _: usize) -> Vec<Views> {
        vec![Views { count: 1, height: self.size, width: self.size }]
    }

    fn prepare(&self, image: &Tensor, label: &Tensor) -> Result<(Tensor, Tensor)> {
        let (count, _, height, width) = image.dims4()?;
        let (device, size) = (image.device(), [height, width]);
        let (scaled, [top, left]) = self.layout(size);
        let bytes: Vec<u8> =
            ((image.permute((0, 2, 3, 1))? * 255.0)? + 0.5)?.to_dtype(DType::U8)?.flatten_all()?.to_vec1()?;
        let labels: Vec<u8> = label.flatten_all()?.to_vec1()?;
        let [mut pixels, mut classes] = [Vec::new(), Vec::new()];
        for (bytes, labels) in bytes.chunks(3 * height * width).zip(labels.chunks(height * width)) {
            pixels.extend(pillow::bilinear(bytes, size, scaled));
            classes.extend(pillow::nearest(labels, size, scaled));
        }
        if let Some(class) = self.void_class {
            classes.iter_mut().filter(|label| **label == IGNORE_LABEL).for_each(|label| *label = class);
        }
        let pixels = Tensor::from_vec(pixels, (count, scaled[0], scaled[1], 3), device)?;
        let pixels = pixels.narrow(1, top, self.size)?.narrow(2, left, self.size)?.permute((0, 3, 1, 2))?;
        let classes = Tensor::from_vec(classes, (count, scaled[0], scaled[1]), device)?;
        let classes = classes.narrow(1, top, self.size)?.narrow(2, left, self.size)?;
        Ok(((pixels.contiguous()?.to_dtype(DType::F32)? / 255.0)?, classes.contiguous()?))
    }

    fn logits(&self, model: &dyn Model, image: &Tensor, _: [f32; 3]) -> candle_core::Result<Tensor> {
        model.logits(image)
    }

    fn passes_on(&self) -> bool {
        true
    }
}
