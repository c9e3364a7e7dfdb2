//! Batches on the way to the device.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use robustseg_datasets::Batch;
use robustseg_ops::Staging;

use crate::{Error, Result};

/// A batch on the way to the device, for [`Trainer::step_prepared`](crate::Trainer::step_prepared).
pub struct Prepared {
    batch: Arc<Batch>,
    number: u64,
}

impl Prepared {
    /// The batch itself.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }
}

/// The batches sent so far, in order.
pub(crate) struct Arrivals {
    staging: Staging,
    sent: u64,
    arrived: u64,
}

impl Arrivals {
    pub(crate) fn new(device: &Device) -> Result<Self> {
        Ok(Self { staging: Staging::new(device)?, sent: 0, arrived: 0 })
    }

    /// Sends `batch`.
    pub(crate) fn send(&mut self, batch: Arc<Batch>) -> Result<Prepared> {
        let images = images_shape(&batch)?;
        self.staging.begin(&batch, |batch| (&batch.images, &batch.labels), images)?;
        self.sent += 1;
        Ok(Prepared { batch, number: self.sent })
    }

    /// Images and labels of `prepared` on the device; `None` on the CPU. Drops batches that were
    /// sent earlier and never taken.
    pub(crate) fn take(&mut self, prepared: &Prepared) -> Result<Option<(Tensor, Tensor)>> {
        let mut tensors = None;
        while self.arrived < prepared.number {
            tensors = self.staging.arrive()?;
            self.arrived += 1;
        }
        Ok(tensors)
    }
}

/// The shape of the batch's images. Its arrays are checked against it.
pub(crate) fn images_shape(batch: &Batch) -> Result<(usize, usize, usize, usize)> {
    let (count, height, width) = (batch.ids.len(), batch.height, batch.width);
    let pixels = count * height * width;
    if pixels == 0 || batch.images.len() != 3 * pixels || batch.labels.len() != pixels {
        return Err(Error::Mismatch {
            what: "batch".into(),
            expected: format!("{count} samples of {height} x {width} pixels, at least one"),
            actual: format!("{} image values and {} labels", batch.images.len(), batch.labels.len()),
        });
    }
    Ok((count, 3, height, width))
}
