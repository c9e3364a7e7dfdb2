//! The batches of an evaluation.

use robustseg_datasets::{Result, Sample};

/// Puts neighbouring samples of one size together, at most `size` of them. The boundaries are the
/// same wherever an evaluation begins, if it begins at one of them.
pub(crate) struct Batches<I> {
    samples: I,
    size: usize,
    /// The first sample of the next batch.
    next: Option<Sample>,
}

impl<I: Iterator<Item = Result<Sample>>> Batches<I> {
    pub(crate) fn new(samples: I, size: usize) -> Self {
        Self { samples, size, next: None }
    }
}

impl<I: Iterator<Item = Result<Sample>>> Iterator for Batches<I> {
    type Item = Result<Vec<Sample>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::from_iter(self.next.take());
        for sample in self.samples.by_ref() {
            let sample = match sample {
                Ok(sample) => sample,
                Err(error) => return Some(Err(error)),
            };
            if batch.len() < self.size && same_size(&batch, &sample) {
                batch.push(sample);
            } else {
                self.next = Some(sample);
                break;
            }
            if batch.len() == self.size {
                break;
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

fn same_size(batch: &[Sample], sample: &Sample) -> bool {
    let size = |sample: &Sample| (sample.image.width, sample.image.height);
    batch.first().is_none_or(|first| size(first) == size(sample))
}
