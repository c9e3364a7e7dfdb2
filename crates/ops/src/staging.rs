//! Batches that are brought to a GPU while it computes on others.

use candle_core::{Device, Result, Tensor};
use std::sync::Arc;

/// Brings batches of images and labels to a device ahead of their use. On the CPU, where they are already, it does nothing.
///
/// On a GPU a batch is copied into memory that the GPU reads by itself, on another thread, and from there on a stream of its own,
/// so that neither the computing stream nor the thread that feeds it waits. Memory: three batches on either side.
pub struct Staging {
    #[cfg(feature = "cuda")]
    gpu: Option<crate::cuda::staging::Uploads>,
}

impl Staging {
    /// For batches that `device` computes on.
    ///
    /// # Errors
    /// If the GPU gives no stream.
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
    /// If memory is short. [`Staging::arrive`] tells what else goes wrong.
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

    /// The batch that was begun first and has not arrived yet, if any. The tensors are good until the next one arrives: then
    /// what is enqueued may still read them, but nothing new.
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
