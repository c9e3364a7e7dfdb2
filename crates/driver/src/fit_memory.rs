//! The number of parts of a batch with which a training step fits the memory.

use candle_core::Device;
use robustseg_words::counted;
use tracing::info;

use crate::exit::Usage;
use crate::memory;
use crate::plan::Plan;

impl Plan {
    /// Raises `training.accumulate` until a step fits the memory, if `training.fit_memory` asks for it.
    /// A resumed run keeps the number of parts with which it was `begun`, because it decides the
    /// weights.
    ///
    /// # Errors
    /// [`Usage`] on a GPU. If no number of parts fits, the largest is taken, and the plan's own check
    /// says what to lower.
    pub(crate) fn fit_memory(&mut self, device: &Device, begun: Option<usize>) -> anyhow::Result<()> {
        if !self.spec.training.fit_memory {
            return Ok(());
        }
        if !device.is_cpu() {
            let reason = "training.fit_memory: estimates the memory of a CPU. A GPU also needs the workspaces of its convolutions, \
                 which are known only once they run; give training.accumulate instead";
            return Err(Usage(reason.into()).into());
        }
        if let Some(parts) = begun {
            self.spec.training.accumulate = parts;
            return Ok(());
        }
        let possible: Vec<usize> = self.spec.training.possible_parts().collect();
        for parts in possible {
            self.spec.training.accumulate = parts;
            let training = &self.spec.training;
            let (part, pixels) = (training.batch_size / parts, training.augmentation.crop.pixels());
            let loss = training.loss.memory(part, pixels, self.model.num_classes) as u64;
            // A lower bound, which a step exceeds by up to its double.
            if memory::fits(self.training_memory()?.saturating_mul(2).saturating_add(loss)) {
                break;
            }
        }
        let training = &self.spec.training;
        let (parts, size) = (training.accumulate, training.batch_size);
        if parts > 1 {
            info!(
                "to fit the memory, a batch of {size} goes through the network in {parts} parts of {}; batch norm sees a \
                 part at a time",
                counted(size / parts, "sample")
            );
        }
        Ok(())
    }
}
