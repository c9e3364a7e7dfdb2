//! Sums of tensors over the processes of a run.

use candle_core::{Device, Error, Result, Shape, Tensor};
use robustseg_ranks::{Pending, Ranks};

#[cfg(feature = "cuda")]
use crate::cuda::nccl::{Gpus, Sum};

/// Adds up tensors over ranks: between their GPUs where these are connected, otherwise through the
/// memory of the host.
pub struct AllReduce {
    ranks: Ranks,
    #[cfg(feature = "cuda")]
    gpus: Option<Gpus>,
}

impl AllReduce {
    /// Sums over `ranks` of tensors on `device`. All ranks call it at the same time.
    ///
    /// It connects the GPUs by NVIDIA's library NCCL if every rank has the library and a GPU of its own.
    /// Otherwise it says in the log why not.
    ///
    /// # Errors
    /// If a rank has ended.
    pub fn new(ranks: Ranks, device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        let gpus = Gpus::connect(&*ranks, device)?;
        #[cfg(not(feature = "cuda"))]
        let _ = device;
        Ok(Self {
            ranks,
            #[cfg(feature = "cuda")]
            gpus,
        })
    }

    /// Begins to add up f32 `tensors`, and returns while that takes place. All ranks give tensors of the
    /// same shapes, in the same order of calls.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use robustseg_ops::AllReduce;
    ///
    /// let ranks = robustseg_ranks::threads(2).into_iter().map(|rank| {
    ///     std::thread::spawn(move || -> candle_core::Result<Vec<f32>> {
    ///         let own = Tensor::new(&[rank.rank() as f32, 1.0], &Device::Cpu)?;
    ///         let sums = AllReduce::new(rank, &Device::Cpu)?;
    ///         sums.start(&[own])?.finish()?[0].to_vec1()
    ///     })
    /// });
    /// for rank in ranks.collect::<Vec<_>>() {
    ///     assert_eq!(rank.join().unwrap()?, [1.0, 2.0]);
    /// }
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a rank has ended.
    pub fn start(&self, tensors: &[Tensor]) -> Result<Reducing> {
        let shapes = tensors.iter().map(|tensor| tensor.shape().clone()).collect();
        let Some(first) = tensors.first() else { return Ok(Reducing { shapes, way: Way::Nothing }) };
        #[cfg(feature = "cuda")]
        if let Some(gpus) = &self.gpus {
            return Ok(Reducing { shapes, way: Way::Gpu(gpus.start(tensors)?) });
        }
        let mut values = Vec::with_capacity(tensors.iter().map(Tensor::elem_count).sum());
        for tensor in tensors {
            values.extend(tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?);
        }
        let pending = self.ranks.start_sum(values).map_err(Error::wrap)?;
        Ok(Reducing { shapes, way: Way::Host { pending, device: first.device().clone() } })
    }
}

/// Sums on their way.
pub struct Reducing {
    shapes: Vec<Shape>,
    way: Way,
}

enum Way {
    Nothing,
    Host {
        pending: Box<dyn Pending>,
        device: Device,
    },
    #[cfg(feature = "cuda")]
    Gpu(Sum),
}

impl Reducing {
    /// Drives the sums on. Returns whether they need no more of it.
    ///
    /// # Errors
    /// If a rank has ended.
    pub fn advance(&mut self) -> Result<bool> {
        match &mut self.way {
            Way::Nothing => Ok(true),
            Way::Host { pending, .. } => pending.is_complete().map_err(Error::wrap),
            #[cfg(feature = "cuda")]
            Way::Gpu(_) => Ok(true),
        }
    }

    /// The sums, in the order of the tensors. Waits for them on the host, or lets the GPU wait.
    ///
    /// # Errors
    /// If a rank has ended.
    pub fn finish(self) -> Result<Vec<Tensor>> {
        match self.way {
            Way::Nothing => Ok(Vec::new()),
            Way::Host { pending, device } => {
                let values = pending.wait().map_err(Error::wrap)?;
                let mut rest = &values[..];
                let cut = |shape: Shape| {
                    let (own, others) = rest.split_at(shape.elem_count());
                    rest = others;
                    Tensor::from_slice(own, shape, &device)
                };
                self.shapes.into_iter().map(cut).collect()
            }
            #[cfg(feature = "cuda")]
            Way::Gpu(sum) => {
                let (all, mut start) = (sum.finish()?, 0);
                let cut = |shape: Shape| {
                    let (first, count) = (start, shape.elem_count());
                    start += count;
                    all.narrow(0, first, count)?.reshape(shape)
                };
                self.shapes.into_iter().map(cut).collect()
            }
        }
    }
}
