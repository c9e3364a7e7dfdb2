//! Predictions and scores of images before and after an attack.

use candle_core::Tensor;
use robustseg_attacks::Model;
use robustseg_metrics::ConfusionMatrix;
use robustseg_ops::{PixelObjective, pixel_objective_per_image, predict};

use super::report::Measures;

/// Predictions and scores of images.
pub(super) struct Observations {
    pub(super) predictions: Vec<Vec<u8>>,
    pub(super) measures: Vec<Measures>,
}

/// The model's predictions and scores for each of the images.
pub(super) fn observe(
    model: &dyn Model,
    classes: usize,
    image: &Tensor,
    label: &Tensor,
) -> anyhow::Result<Observations> {
    let (count, height, width) = label.dims3()?;
    let logits = model.logits(image)?;
    let objective = |objective| -> anyhow::Result<Vec<f32>> {
        Ok(pixel_objective_per_image(&logits, label, objective, model.alignment())?.to_vec1()?)
    };
    let (losses, gains) = (objective(PixelObjective::CrossEntropy)?, objective(PixelObjective::Gain)?);
    let predicted = predict(&logits, height, width, model.alignment())?.reshape((count, height * width))?;
    let predictions: Vec<Vec<u8>> = predicted.to_vec2()?;
    let labels: Vec<Vec<u8>> = label.reshape((count, height * width))?.to_vec2()?;
    let mut measures = Vec::with_capacity(count);
    for index in 0..count {
        let mut matrix = ConfusionMatrix::new(classes);
        matrix.update(&predictions[index], &labels[index])?;
        measures.push(Measures {
            loss: losses[index],
            mean_gain: gains[index],
            miou: matrix.mean_iou(),
            pixel_accuracy: matrix.pixel_accuracy(),
        });
    }
    Ok(Observations { predictions, measures })
}
