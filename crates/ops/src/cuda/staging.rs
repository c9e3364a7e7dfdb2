//! Batches on their way to the GPU, on a stream of their own.

use super::memory::address;
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaStream, PinnedHostSlice, ValidAsZeroBits, result, sys,
};
use candle_core::{CudaDevice, DType, Device, Error, Result, Tensor};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

/// Batches that are under way or in use.
pub(crate) struct Uploads {
    device: CudaDevice,
    copies: Arc<CudaStream>,
    /// The batches under way, the first in front.
    under_way: VecDeque<mpsc::Receiver<Result<Slot>>>,
    in_use: Option<Slot>,
    /// Slots that enqueued work may still read.
    free: Vec<Slot>,
}

/// Memory for a batch, on the host and on the GPU.
struct Slot {
    pinned_images: PinnedHostSlice<f32>,
    pinned_labels: PinnedHostSlice<u8>,
    images: Tensor,
    labels: Tensor,
    /// After the copy, on the stream of copies.
    copied: Option<CudaEvent>,
    /// After the last work that reads the batch, on the device's stream.
    read: Option<CudaEvent>,
}

impl Uploads {
    pub(crate) fn new(device: &CudaDevice) -> Result<Self> {
        let copies = device.cuda_stream().context().new_stream().map_err(Error::wrap)?;
        Ok(Self {
            device: device.clone(),
            copies,
            under_way: VecDeque::new(),
            in_use: None,
            free: Vec::new(),
        })
    }

    pub(crate) fn begin<B: Send + Sync + 'static>(
        &mut self,
        batch: Arc<B>,
        parts: fn(&B) -> (&[f32], &[u8]),
        shape: (usize, usize, usize, usize),
    ) -> Result<()> {
        let fits = |slot: &Slot| slot.images.dims() == [shape.0, shape.1, shape.2, shape.3];
        let slot = match self.free.iter().position(fits) {
            Some(index) => self.free.swap_remove(index),
            None => self.slot(shape)?,
        };
        let (sender, receiver) = mpsc::sync_channel(1);
        let (copies, device) = (self.copies.clone(), self.device.clone());
        rayon::spawn(move || {
            let (images, labels) = parts(&batch);
            // The receiver may be gone.
            let _ = sender.send(bring(slot, images, labels, &copies, &device));
        });
        self.under_way.push_back(receiver);
        Ok(())
    }

    pub(crate) fn arrive(&mut self) -> Result<Option<(Tensor, Tensor)>> {
        let Some(receiver) = self.under_way.pop_front() else {
            return Ok(None);
        };
        let computing = self.device.cuda_stream();
        if let Some(mut previous) = self.in_use.take() {
            previous.read = Some(computing.record_event(None).map_err(Error::wrap)?);
            self.free.push(previous);
        }
        let slot = receiver.recv().map_err(Error::wrap)??;
        if let Some(copied) = &slot.copied {
            computing.wait(copied).map_err(Error::wrap)?;
        }
        let tensors = (slot.images.clone(), slot.labels.clone());
        self.in_use = Some(slot);
        Ok(Some(tensors))
    }

    fn slot(&self, (count, channels, height, width): (usize, usize, usize, usize)) -> Result<Slot> {
        let device = Device::Cuda(self.device.clone());
        let stream = self.device.cuda_stream();
        let context = stream.context();
        let pixels = count * height * width;
        let images = Tensor::zeros((count, channels, height, width), DType::F32, &device)?;
        let labels = Tensor::zeros((count, height, width), DType::U8, &device)?;
        // Copies must wait until the memory exists.
        let read = Some(stream.record_event(None).map_err(Error::wrap)?);
        // SAFETY: all of it is written before it is read.
        let (pinned_images, pinned_labels) = unsafe {
            (
                context.alloc_pinned(channels * pixels).map_err(Error::wrap)?,
                context.alloc_pinned(pixels).map_err(Error::wrap)?,
            )
        };
        Ok(Slot { pinned_images, pinned_labels, images, labels, copied: None, read })
    }
}

/// Copies a batch into the slot's memory on the host, and enqueues the copy from there to the GPU.
fn bring(
    mut slot: Slot,
    images: &[f32],
    labels: &[u8],
    copies: &CudaStream,
    device: &CudaDevice,
) -> Result<Slot> {
    // The last copy out of this memory.
    if let Some(copied) = slot.copied.take() {
        copied.synchronize().map_err(Error::wrap)?;
    }
    if let Some(read) = slot.read.take() {
        copies.wait(&read).map_err(Error::wrap)?;
    }
    enqueue(images, &mut slot.pinned_images, address::<f32>(device, &slot.images)?, copies)?;
    enqueue(labels, &mut slot.pinned_labels, address::<u8>(device, &slot.labels)?, copies)?;
    slot.copied = Some(copies.record_event(None).map_err(Error::wrap)?);
    Ok(slot)
}

/// Values that a thread copies at a time.
const BLOCK: usize = 1 << 18;

fn enqueue<T: ValidAsZeroBits + Copy + Send + Sync>(
    from: &[T],
    through: &mut PinnedHostSlice<T>,
    to: sys::CUdeviceptr,
    copies: &CudaStream,
) -> Result<()> {
    if from.len() != through.len() {
        candle_core::bail!("a batch has {} values instead of {}", from.len(), through.len());
    }
    let pinned = through.as_mut_slice().map_err(Error::wrap)?;
    pinned.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).for_each(|(to, from)| to.copy_from_slice(from));
    copies.context().bind_to_thread().map_err(Error::wrap)?;
    // SAFETY: both have the same number of elements, and the host's is not written before the copy
    // is done.
    unsafe { result::memcpy_htod_async(to, pinned, copies.cu_stream()) }.map_err(Error::wrap)
}
