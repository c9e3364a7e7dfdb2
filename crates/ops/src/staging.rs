//! Batches that travel to a GPU while it computes on others.

use candle_core::{Device, Result, Tensor};
use std::sync::Arc;

/// Brings batches of images and labels to a device before they are needed. For the CPU, which has
/// them already, it does nothing.
///
/// For a GPU, another thread copies a batch into pinned memory, and a separate stream copies it
/// from there. Neither the computing stream nor the thread that feeds it waits. Memory: three
/// batches on each side.
///
/// ```
/// use candle_core::Device;
/// use std::sync::Arc;
/// # fn main() -> candle_core::Result<()> {
/// let mut staging = robustseg_ops::Staging::new(&Device::Cpu)?;
/// let batch = Arc::new((vec![0.5_f32; 3 * 4], vec![1_u8; 4]));
/// staging.begin(&batch, |batch| (&batch.0, &batch.1), (1, 3, 2, 2))?;
/// assert!(staging.arrive()?.is_none()); // the CPU has the batch already
/// # Ok(())
/// # }
/// ```
pub struct Staging {
    #[cfg(feature = "cuda")]
    gpu: Option<crate::cuda::staging::Uploads>,
}

impl Staging {
    /// Staging for batches that `device` computes on.
    ///
    /// # Errors
    /// If the GPU cannot create a stream.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables, clippy::unnecessary_wraps))]
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self {
            #[cfg(feature = "cuda")]
            gpu: match device {
                Device::Cuda(device) => Some(crate::cuda::staging::Uploads::new(device)?),
                _ => None,
            },
        })
    }

    /// Begins to bring the images (N, 3, H, W) and labels (N, H, W) that `parts` finds in `batch`.
    ///
    /// # Errors
    /// If memory is short. [`Staging::arrive`] reports all other errors.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables, clippy::unnecessary_wraps))]
    pub fn begin<B: Send + Sync + 'static>(
        &mut self,
        batch: &Arc<B>,
        parts: fn(&B) -> (&[f32], &[u8]),
        images: (usize, usize, usize, usize),
    ) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &mut self.gpu {
            gpu.begin(batch.clone(), parts, images)?;
        }
        Ok(())
    }

    /// The oldest batch that has not arrived yet, if any. New work may read its tensors until the
    /// next batch arrives, and work that is enqueued by then may finish.
    ///
    /// # Errors
    /// If the copy failed.
    #[cfg_attr(not(feature = "cuda"), allow(clippy::unnecessary_wraps))]
    pub fn arrive(&mut self) -> Result<Option<(Tensor, Tensor)>> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &mut self.gpu {
            return gpu.arrive();
        }
        Ok(None)
    }
}
