//! Images that are evaluated together.

use candle_core::{DType, Device, Tensor};
use robustseg_datasets::Sample;

use crate::presented::Presented;
use crate::{Error, Result};

/// A batch to evaluate a model on.
#[derive(Clone, Debug)]
pub struct EvaluationBatch {
    /// The samples' ids.
    pub ids: Vec<String>,
    /// The images (N, 3, H, W), f32 in `[0, 1]`. The size may differ between batches.
    pub image: Tensor,
    /// The labels (N, H, W), u8, where 255 means not labelled.
    pub label: Tensor,
}

impl EvaluationBatch {
    /// A batch of `samples` of one size.
    pub(crate) fn of(samples: &[Sample], device: &Device) -> Result<Self> {
        let mut images = Vec::with_capacity(samples.len());
        let mut labels = Vec::with_capacity(samples.len());
        for Sample { image, label, .. } in samples {
            let (height, width) = (image.height, image.width);
            let pixels = Tensor::from_slice(&image.data, (height, width, 3), device)?.permute((2, 0, 1))?;
            images.push((pixels.to_dtype(DType::F32)? / 255.0)?.contiguous()?);
            labels.push(Tensor::from_slice(&label.data, (height, width), device)?);
        }
        let ids = samples.iter().map(|sample| sample.id.clone()).collect();
        Ok(Self { ids, image: Tensor::stack(&images, 0)?, label: Tensor::stack(&labels, 0)? })
    }

    /// The images and labels that are attacked and scored under the protocol of `presented`.
    ///
    /// # Errors
    /// If there is not one id for each image, and the errors of [`Presented::prepare`].
    pub(crate) fn prepared(self, presented: &Presented<'_>) -> Result<Self> {
        let Self { ids, image, label } = self;
        if ids.len() != image.dims().first().copied().unwrap_or(0) {
            return Err(Error::Mismatch {
                what: "ids of a batch".into(),
                expected: format!("one for each image of {:?}", image.dims()),
                actual: ids.len().to_string(),
            });
        }
        let (image, label) = presented.prepare(&image, &label)?;
        Ok(Self { ids, image, label })
    }
}
