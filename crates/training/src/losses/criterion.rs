//! The loss in a running training.

use std::sync::Arc;

use candle_core::Tensor;
use robustseg_ops::Alignment;

use super::{ClassWeights, LossConfig, Scene, Term};
use crate::{Error, Result};

/// The loss in a running training, with the weights of the classes.
pub(crate) struct Criterion {
    terms: Vec<Arc<dyn Term>>,
    /// By term. `None` as long as the pixels of the classes are unknown.
    weights: Option<Vec<Option<Vec<f32>>>>,
}

impl Criterion {
    /// The loss for a network of `classes`.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is not one weight for each class.
    pub(crate) fn new(config: &LossConfig, classes: usize) -> Result<Self> {
        let terms = config.terms().to_vec();
        for (field, weights) in terms.iter().filter_map(|term| term.class_weights()) {
            if let ClassWeights::Given(weights) = weights
                && weights.len() != classes
            {
                let found = weights.len();
                let reason = format!("there are {found} weights, but the network has {classes} classes");
                return Err(Error::Setting { field, reason });
            }
        }
        let mut criterion = Self { terms, weights: None };
        if !config.needs_class_pixels() {
            criterion.weigh(&[]);
        }
        Ok(criterion)
    }

    /// Whether the pixels of the classes are still unknown.
    pub(crate) fn needs_class_pixels(&self) -> bool {
        self.weights.is_none()
    }

    /// Weighs the classes of a training split with `pixels` of each.
    pub(crate) fn weigh(&mut self, pixels: &[u64]) {
        let weights = |term: &Arc<dyn Term>| term.class_weights().and_then(|(_, weights)| weights.of(pixels));
        self.weights = Some(self.terms.iter().map(weights).collect());
    }

    /// The loss of small `logits` (N, h, w, K) for `labels` (N, H, W), a scalar.
    pub(crate) fn value(&self, logits: &Tensor, labels: &Tensor, alignment: Alignment) -> Result<Tensor> {
        let weights = self.weights.as_ref().ok_or_else(|| Error::Mismatch {
            what: "weights of the classes".into(),
            expected: "the pixels of each class, from Trainer::set_class_pixels".into(),
            actual: "nothing".into(),
        })?;
        let terms = self.terms.iter().zip(weights).map(|(term, weights)| -> Result<Tensor> {
            let class_weights = weights.as_deref();
            let value = term.value(&Scene { logits, labels, alignment, class_weights })?;
            let (_, factor) = term.weight();
            Ok(if factor == 1.0 { value } else { (value * factor)? })
        });
        let sum = terms.reduce(|sum, term| Ok((sum? + term?)?));
        sum.unwrap_or_else(|| Err(Error::Setting { field: "loss", reason: "names no loss".into() }))
    }
}
