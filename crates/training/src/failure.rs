//! Steps with a quantity that is not finite.

use std::collections::BTreeMap;

use robustseg_datasets::Batch;
use robustseg_files::sealed::seal;
use robustseg_files::write_atomically;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView};

use crate::observer::{Event, Observer};
use crate::run::Run;
use crate::trainer::Trainer;
use crate::{Error, Result};

impl Trainer {
    /// Skips steps with a quantity that is not finite. After too many of them, saves what an
    /// investigation needs: the network before the step and the batch, in the format of `robustseg
    /// attack --input`.
    pub(crate) fn leave_out(
        &mut self,
        run: &Run<'_>,
        batch: &Batch,
        error: Error,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let (step, reason) = (self.steps_done(), error.to_string());
        let epoch = step / self.config.steps_per_epoch(run.train.len())?;
        if self.state.left_out < self.config.skip_not_finite {
            observer.event(&Event::StepSkipped { step, epoch, reason })?;
            self.state.left_out += 1;
            self.state.step += 1;
            return Ok(());
        }
        observer.event(&Event::TrainingFailed { step, epoch, reason })?;
        self.save_network(run, "failed.safetensors")?;
        let path = run.checkpoints.join("failed_batch.safetensors");
        self.on_first(|| {
            let bytes = serialize_batch(batch).map_err(candle_core::Error::wrap)?;
            write_atomically(&path, &bytes).map_err(|source| Error::File {
                operation: "writing",
                path: path.clone(),
                source,
            })
        })?;
        Err(error)
    }
}

/// A safetensors file with the batch's `image` (N, 3, H, W) and `label` (N, H, W).
fn serialize_batch(batch: &Batch) -> Result<Vec<u8>, SafeTensorError> {
    let (count, height, width) = (batch.ids.len(), batch.height, batch.width);
    let images: Vec<u8> = batch.images.iter().flat_map(|value| value.to_le_bytes()).collect();
    let image = TensorView::new(Dtype::F32, vec![count, 3, height, width], &images)?;
    let label = TensorView::new(Dtype::U8, vec![count, height, width], &batch.labels)?;
    let tensors = vec![("image".to_owned(), image), ("label".to_owned(), label)];
    seal(tensors, &BTreeMap::from([("samples", batch.ids.join("\n"))]))
}
