//! Examples to look at: an image, an attack on it, and what the network sees in both.

use candle_core::{Device, Tensor};
use robustseg_attacks::{Attack, Bim, Model};
use robustseg_ops::predict;
use robustseg_random::stream;

use crate::Result;

/// One image with its prediction, before and after an attack, as in figure 1 of Wiens & Hammer 2022.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The sample's id.
    pub id: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// RGB, 8 bits a channel, row by row.
    pub image: Vec<u8>,
    /// The true label of each pixel.
    pub label: Vec<u8>,
    /// The predicted label of each pixel.
    pub prediction: Vec<u8>,
    /// The attacked image, as `image`, rounded to 8 bits.
    pub adversarial: Vec<u8>,
    /// The predicted label of each pixel of the attacked image (before rounding).
    pub adversarial_prediction: Vec<u8>,
}

impl Example {
    /// The attack on examples: BIM as in the paper's evaluation, at epsilon 0.03.
    pub const ATTACK: Bim = Bim { epsilon: 0.03, alpha: 0.004, steps: 10 };

    /// The example of one image (1, 3, H, W) with its label (1, H, W).
    pub(crate) fn new(id: &str, model: &dyn Model, image: &Tensor, label: &Tensor) -> Result<Self> {
        let (_, height, width) = label.dims3()?;
        let unused = &mut stream(0, "example", [0; 3]);
        let adversarial = Self::ATTACK.perturb(model, image, label, unused)?.image;
        let prediction =
            |image: &Tensor| bytes(&predict(&model.logits(image)?, height, width, model.alignment())?);
        Ok(Self {
            id: id.into(),
            width,
            height,
            image: rgb(image)?,
            label: bytes(label)?,
            prediction: prediction(image)?,
            adversarial: rgb(&adversarial)?,
            adversarial_prediction: prediction(&adversarial)?,
        })
    }
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
}

/// (1, 3, H, W) in `[0, 1]` to RGB bytes.
fn rgb(image: &Tensor) -> Result<Vec<u8>> {
    let values: Vec<f32> = image.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1()?;
    Ok(values.into_iter().map(|value| (value * 255.0).round() as u8).collect())
}
