//! The samples of an update, from a training method's point of view.

use candle_core::Tensor;
use robustseg_attacks::{Case, Model};
use robustseg_evaluation::Target;
use robustseg_models::{Network, NormStatistics};
use robustseg_random::{ChaCha8Rng, stream};

use crate::{Error, Result};

/// The samples of a batch before an update: drawn and clean ones.
pub struct Samples<'a> {
    pub(crate) network: &'a Network,
    pub(crate) statistics: NormStatistics,
    pub(crate) images: &'a Tensor,
    pub(crate) labels: &'a Tensor,
    pub(crate) ids: &'a [String],
    pub(crate) drawn: Option<Part>,
    /// The positions of the others.
    pub(crate) clean: Vec<usize>,
    pub(crate) at: At,
}

/// The position of an update in the training.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) seed: u64,
    pub(crate) step: u64,
    /// The index of the update on its batch.
    pub(crate) update: u64,
    /// The index of the part of its batch.
    pub(crate) part: u64,
    pub(crate) learning_rate: f64,
}

/// A subset of the samples of a batch.
pub struct Part {
    /// The images (M, 3, H, W), f32 in `[0, 1]`.
    pub images: Tensor,
    /// The labels (M, H, W), u8.
    pub labels: Tensor,
    /// Their positions in the batch.
    pub places: Vec<usize>,
    pub(crate) ids: Vec<String>,
    pub(crate) at: At,
}

impl<'a> Samples<'a> {
    /// The network.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// The norm statistics in use while examples are crafted.
    pub fn statistics(&self) -> NormStatistics {
        self.statistics
    }

    /// The network behind the interface of attacks.
    pub fn target(&self) -> Target<'a> {
        Target::new(self.network, self.statistics)
    }

    /// The samples to attack, if any.
    pub fn drawn(&self) -> Option<&Part> {
        self.drawn.as_ref()
    }

    /// The samples that stay clean, if any.
    ///
    /// # Errors
    /// If an allocation fails.
    pub fn clean(&self) -> Result<Option<Part>> {
        Part::of(self.images, self.labels, self.ids, self.clean.clone(), self.at)
    }

    /// The labels of the whole batch (N, H, W), u8.
    pub fn labels(&self) -> &'a Tensor {
        self.labels
    }

    /// The random stream of this update for `purpose`.
    pub fn random(&self, purpose: &str) -> ChaCha8Rng {
        self.at.random(purpose)
    }
}

impl At {
    pub(crate) fn random(&self, purpose: &str) -> ChaCha8Rng {
        stream(self.seed, purpose, [self.step, self.update, self.part])
    }

    pub(crate) fn not_finite(&self, quantity: String, value: f32, samples: Vec<String>) -> Error {
        Error::NotFinite { quantity, value, step: self.step, learning_rate: self.learning_rate, samples }
    }
}

impl Part {
    /// The samples of a batch at `places`. `None` if `places` is empty.
    pub(crate) fn of(
        images: &Tensor,
        labels: &Tensor,
        ids: &[String],
        places: Vec<usize>,
        at: At,
    ) -> Result<Option<Self>> {
        if places.is_empty() {
            return Ok(None);
        }
        let (images, labels) = (rows(images, &places)?, rows(labels, &places)?);
        let ids = places.iter().map(|&place| ids[place].clone()).collect();
        Ok(Some(Self { images, labels, places, ids, at }))
    }

    /// These samples with `model`, as the case of an attack.
    ///
    /// # Errors
    /// If the images are not f32 in `[0, 1]`.
    pub fn case<'b>(&'b self, model: &'b dyn Model) -> Result<Case<'b>> {
        Ok(Case::new(model, &self.images, &self.labels)?)
    }

    /// `error` of an attack on these samples, with the sample's id instead of its index.
    pub fn named(&self, error: Error) -> Error {
        match error {
            Error::Attack(robustseg_attacks::Error::NotFinite { quantity, index, value }) => {
                let sample = self.ids[index].clone();
                self.at.not_finite(format!("the attack's {quantity}"), value, vec![sample])
            }
            other => other,
        }
    }

    /// `whole` (N, ...) with the rows of `part` (M, ...) in the positions of these samples.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn put_into(&self, whole: &Tensor, part: &Tensor) -> Result<Tensor> {
        let mut rows = whole.chunk(whole.dim(0)?, 0)?;
        for (row, &place) in self.places.iter().enumerate() {
            rows[place] = part.narrow(0, row, 1)?;
        }
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// The rows of `whole` (N, ...) in the positions of these samples.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn take_from(&self, whole: &Tensor) -> Result<Tensor> {
        rows(whole, &self.places)
    }
}

/// The rows of `tensor` at `places` of its first axis.
pub(crate) fn rows(tensor: &Tensor, places: &[usize]) -> Result<Tensor> {
    let rows =
        places.iter().map(|&place| tensor.narrow(0, place, 1)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&rows, 0)?)
}
