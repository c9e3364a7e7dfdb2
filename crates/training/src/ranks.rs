//! A training by several processes.
//!
//! Every rank does the same training with the same draws. A step's network passes are dealt out by
//! sample ([`Network::deal_batches`]), and the gradients of the weights are added up, while the backward
//! pass goes on, before the update, so all ranks have the same weights. Rank 0 alone reads and writes the run's files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use robustseg_files::sealed::read;
use robustseg_models::{Checkpoint, Network, Origin};
use robustseg_ops::AllReduce;
use robustseg_ranks::{Communicator, Ranks, from_bytes, to_bytes};
use robustseg_words::counted;

use self::sums::Sums;
use crate::trainer::Trainer;
use crate::{Error, Result};

pub(crate) mod sums;

impl Trainer {
    /// Trains together with `ranks`, which have the same network, settings and data. The numbers are
    /// those of one process, up to the order of sums.
    ///
    /// # Errors
    /// [`Error::Setting`] if the batch, or a part of it, does not have as many samples for each rank.
    pub fn distribute(&mut self, ranks: Ranks) -> Result<()> {
        let (part, size) = (self.config.batch_size / self.config.accumulate, ranks.size());
        if !part.is_multiple_of(size) {
            let of = if self.config.accumulate > 1 { " of a part" } else { "" };
            let reason = format!(
                "the {}{of} cannot be shared equally by {size} processes; start as many as divide it",
                counted(part, "sample")
            );
            return Err(Error::Setting { field: "batch_size", reason });
        }
        if size > 1 {
            self.all_reduce = Some(Arc::new(AllReduce::new(Ranks::clone(&ranks), self.network.device())?));
        }
        self.ranks = ranks;
        Ok(())
    }

    /// Does `work` on rank 0. If it fails there, it fails on all ranks.
    pub(crate) fn on_first(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = if self.ranks.is_first() { work() } else { Ok(()) };
        let failed = self.ranks.any(done.is_err())?;
        done?;
        if failed { Err(Error::Elsewhere) } else { Ok(()) }
    }

    /// What `ask` says on rank 0.
    pub(crate) fn first_says(&self, ask: impl FnOnce() -> bool) -> Result<bool> {
        Ok(self.ranks.any(self.ranks.is_first() && ask())?)
    }

    /// The file at `path`, which rank 0 reads, or why it cannot.
    pub(crate) fn read_shared(&self, path: &Path) -> Result<Vec<u8>, String> {
        if self.ranks.size() == 1 {
            return read(path);
        }
        let (mut fault, mut file) = (String::new(), Vec::new());
        if self.ranks.is_first() {
            match read(path) {
                Ok(bytes) => file = bytes,
                Err(reason) => fault = reason,
            }
        }
        let lost = |error: robustseg_ranks::Error| error.to_string();
        let fault = self.ranks.broadcast(fault.as_bytes()).map_err(lost)?;
        let file = self.ranks.broadcast(&file).map_err(lost)?;
        if fault.is_empty() { Ok(file) } else { Err(String::from_utf8_lossy(&fault).into_owned()) }
    }

    /// The checkpoint at `path`, which rank 0 alone reads. The others get its network without the
    /// origin.
    ///
    /// # Errors
    /// If the checkpoint cannot be loaded.
    pub fn load_shared(&self, path: &Path) -> Result<Checkpoint> {
        let device = self.network.device();
        let mut loaded = None;
        self.on_first(|| {
            loaded = Some(Checkpoint::load(path, device)?);
            Ok(())
        })?;
        let checkpoint = match loaded {
            Some(checkpoint) => checkpoint,
            None => Checkpoint {
                network: Network::blank(self.network.config(), device)?,
                origin: Origin::default(),
            },
        };
        self.share_weights(&checkpoint.network)?;
        Ok(checkpoint)
    }

    /// Gives `network` of all ranks the weights that rank 0 has.
    pub(crate) fn share_weights(&self, network: &Network) -> Result<()> {
        if self.ranks.size() == 1 {
            return Ok(());
        }
        let mut tensors: BTreeMap<_, _> = network
            .parameters()
            .iter()
            .map(|(name, parameter)| (name.clone(), parameter.var.as_tensor().clone()))
            .collect();
        share(&*self.ranks, &mut tensors)?;
        if !self.ranks.is_first() {
            for (name, parameter) in network.parameters() {
                robustseg_ops::assign(&parameter.var, &tensors[name])?;
            }
        }
        Ok(())
    }

    /// The sums of a backward pass, if there are several ranks.
    pub(crate) fn sums(&self) -> Option<Sums> {
        self.all_reduce.as_ref().map(|all_reduce| Sums::new(&self.network, Arc::clone(all_reduce)))
    }
}

/// Gives f32 `tensors` of all ranks, which have the same shapes, the values that rank 0 has.
pub(crate) fn share(ranks: &dyn Communicator, tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
    for tensor in tensors.values_mut() {
        let mut bytes = Vec::new();
        if ranks.is_first() {
            let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
            bytes = to_bytes(&values, f32::to_le_bytes);
        }
        let bytes = ranks.broadcast(&bytes)?;
        if !ranks.is_first() {
            let values = from_bytes(&bytes, f32::from_le_bytes);
            *tensor = Tensor::from_vec(values, tensor.shape(), tensor.device())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod shared_training;
#[cfg(test)]
mod tests;
