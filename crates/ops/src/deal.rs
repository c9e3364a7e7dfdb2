//! The samples of a batch, dealt out to the ranks of a run of several processes.
//!
//! Every rank holds the whole batch of images and computes a network on its own rows of it. The
//! network's small logits then go to all ranks, and so does the gradient of the images on the way
//! back. All that lies outside the network is thus the same on all ranks as in one process.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use robustseg_ranks::{Ranks, from_bytes, to_bytes};

use crate::gradients::Gradients;
use crate::tape::{self, Recorded};

/// How the `total` samples of a batch are dealt out to ranks: in order, as evenly as possible.
///
/// With fewer samples than ranks, some ranks get none. Such a rank computes the last sample too, so
/// that it takes part in every exchange, and its results are ignored.
#[derive(Clone)]
pub struct Deal {
    ranks: Ranks,
    total: usize,
}

impl Deal {
    /// The deal of `total` samples among `ranks`.
    pub fn new(ranks: Ranks, total: usize) -> Self {
        Self { ranks, total }
    }

    /// The samples in the whole batch.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The samples of this rank, maybe none.
    ///
    /// ```
    /// use robustseg_ops::Deal;
    /// let rows = robustseg_ranks::threads(3).into_iter().map(|rank| Deal::new(rank, 5).rows());
    /// assert_eq!(rows.collect::<Vec<_>>(), [0..1, 1..3, 3..5]);
    /// ```
    pub fn rows(&self) -> Range<usize> {
        self.rows_of(self.ranks.rank())
    }

    /// The samples that this rank computes, at least one.
    pub fn computed(&self) -> Range<usize> {
        let rows = self.rows();
        if rows.is_empty() { self.total.saturating_sub(1)..self.total } else { rows }
    }

    /// Each rank's share of the batch.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let share = |rank| self.rows_of(rank).len() as f64 / self.total as f64;
        (0..self.ranks.size()).map(share).collect()
    }

    /// The values of `own` on each rank.
    pub(crate) fn of_each_rank(&self, own: &Tensor) -> Result<Vec<Vec<f32>>> {
        let own = to_bytes(&own.flatten_all()?.to_vec1::<f32>()?, f32::to_le_bytes);
        let all = self.ranks.gather(&own).map_err(candle_core::Error::wrap)?;
        Ok(all.iter().map(|bytes| from_bytes(bytes, f32::from_le_bytes)).collect())
    }

    /// The sum of `own` over all ranks, times this rank's share of the batch. Divided by the count of
    /// this rank's rows it is the sum over the count of all.
    pub(crate) fn mean_of_ranks(&self, own: &Tensor) -> Result<Tensor> {
        let mut sums: Vec<f64> = own.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        self.ranks.sum_f64(&mut sums).map_err(candle_core::Error::wrap)?;
        let share = self.rows().len() as f64 / self.total as f64;
        let sums: Vec<f32> = sums.into_iter().map(|sum| (sum * share) as f32).collect();
        Tensor::from_vec(sums, own.shape(), own.device())
    }

    fn rows_of(&self, rank: usize) -> Range<usize> {
        let size = self.ranks.size();
        rank * self.total / size..(rank + 1) * self.total / size
    }

    /// The rows of `whole` (N, ...) that this rank computes. The gradient of `whole` is put together
    /// from all ranks.
    ///
    /// # Errors
    /// If the first axis is not of the whole batch, or a rank has ended.
    pub fn take(&self, whole: &Tensor) -> Result<Tensor> {
        if whole.dim(0)? != self.total {
            bail!("deal: expected {} samples, found {:?}", self.total, whole.dims());
        }
        let own = self.computed();
        let own = whole.detach().narrow(0, own.start, own.len())?.contiguous()?;
        self.record(whole, own, Direction::Take)
    }

    /// The whole batch (N, ...) of which every rank has the rows `own`. Each rank's part gets the
    /// gradient of its own rows.
    ///
    /// # Errors
    /// If the rows do not fit, or a rank has ended.
    pub fn gather(&self, own: &Tensor) -> Result<Tensor> {
        if own.dim(0)? != self.computed().len() {
            bail!("deal: expected {} samples, found {:?}", self.computed().len(), own.dims());
        }
        let whole = self.assemble(&own.detach())?;
        self.record(own, whole, Direction::Gather)
    }

    /// The whole batch, from the rows of all ranks.
    fn assemble(&self, own: &Tensor) -> Result<Tensor> {
        let (device, dtype) = (own.device(), own.dtype());
        let own_shape = own.dims().to_vec();
        let own = own.to_device(&Device::Cpu)?.narrow(0, 0, self.rows().len())?.flatten_all()?;
        let shape = [&[self.total], &own_shape[1..]].concat();
        let whole = if dtype == DType::F64 {
            let all = self.gather_bytes(&to_bytes(&own.to_vec1()?, f64::to_le_bytes))?;
            Tensor::from_vec(from_bytes(&all, f64::from_le_bytes), shape, &Device::Cpu)?
        } else {
            // Exact for bf16 too.
            let all =
                self.gather_bytes(&to_bytes(&own.to_dtype(DType::F32)?.to_vec1()?, f32::to_le_bytes))?;
            Tensor::from_vec(from_bytes(&all, f32::from_le_bytes), shape, &Device::Cpu)?
        };
        whole.to_dtype(dtype)?.to_device(device)
    }

    fn gather_bytes(&self, own: &[u8]) -> Result<Vec<u8>> {
        Ok(self.ranks.gather(own).map_err(candle_core::Error::wrap)?.concat())
    }

    /// Records that `input` gave `output`, if a gradient may be asked for.
    fn record(&self, input: &Tensor, output: Tensor, direction: Direction) -> Result<Tensor> {
        if !input.track_op() {
            return Ok(output);
        }
        if !tape::is_running() {
            bail!("deal: gradients between processes take a tape");
        }
        let output = Var::from_tensor(&output)?.into_inner();
        let inputs = [input.clone()];
        tape::record(Box::new(Dealt { deal: self.clone(), direction, inputs, output: output.clone() }));
        Ok(output)
    }
}

impl std::fmt::Debug for Deal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "samples {:?} of {}", self.rows(), self.total)
    }
}

/// Whether samples were taken from the whole batch, or put together.
#[derive(Clone, Copy)]
enum Direction {
    Take,
    Gather,
}

/// A recorded exchange.
struct Dealt {
    deal: Deal,
    direction: Direction,
    inputs: [Tensor; 1],
    output: Tensor,
}

impl Recorded for Dealt {
    fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    fn output(&self) -> &Tensor {
        &self.output
    }

    fn backward(&self, gradient: Tensor, _: bool, gradients: &mut Gradients) -> Result<()> {
        let (own, computed) = (self.deal.rows(), self.deal.computed());
        let found = match self.direction {
            Direction::Take => self.deal.assemble(&gradient)?,
            Direction::Gather if own.is_empty() => self.inputs[0].zeros_like()?.detach(),
            Direction::Gather => gradient.narrow(0, computed.start, computed.len())?.copy()?,
        };
        gradients.add(self.inputs[0].id(), found)
    }
}
