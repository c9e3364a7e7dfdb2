//! The interface of training methods.
//!
//! A [`Method`] holds the settings of a method, as named in a spec. [`Method::start`] turns it into
//! a [`TrainingMethod`], which may keep state between steps.

use std::collections::BTreeMap;
use std::fmt::Debug;

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Case, Described};
use robustseg_models::{Branch, Mode, Network};
use robustseg_ops::Gradients;
use robustseg_random::Rng;
use serde_json::{Value, json};

use crate::losses::Criterion;
use crate::practice::Practice;
use crate::samples::Samples;
use crate::{Error, Result};

/// A training method with its settings.
///
/// To add a method, write a file in `methods` that implements [`Method`] and [`TrainingMethod`],
/// and add one line to the registry in `methods/mod.rs`. A method from another crate needs no such
/// line: every method converts into a [`MethodConfig`](crate::MethodConfig).
pub trait Method: Described + Debug + Send + Sync {
    /// The method's name in specs, on the command line and in results, such as `rs_fgsm`.
    fn name(&self) -> &'static str;

    /// The method's name in papers, such as `RS-FGSM`.
    fn title(&self) -> &'static str;

    /// One sentence about the method, for help texts and schemas.
    fn summary(&self) -> &'static str;

    /// Refuses settings out of range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// How the method's authors let adversarial examples enter a training: according to their
    /// paper, or to their program where the paper does not say. A spec may override this.
    fn practice(&self) -> Practice {
        Practice::HALF
    }

    /// Whether the method attacks samples.
    fn crafts(&self) -> bool {
        true
    }

    /// Whether the method minimises the loss of the settings. Otherwise it minimises the mean
    /// cross-entropy over labelled pixels in a way of its own, and another loss is refused.
    fn takes_loss(&self) -> bool {
        true
    }

    /// Whether the parts of a batch may go through the network one after the other. The method then
    /// sees each part as if it were a batch.
    fn takes_parts(&self) -> bool {
        true
    }

    /// The cost of a training step per sample of `pixels` pixels that is attacked with
    /// `probability`, in forward passes. An update on a clean sample costs three, an attack's
    /// gradient two. Additional branches do not count.
    fn cost(&self, probability: f64, pixels: usize) -> f64;

    /// The branches that the method needs in a network of `num_classes` classes.
    fn branches(&self, num_classes: usize) -> Vec<Branch> {
        let _ = num_classes;
        Vec::new()
    }

    /// The method as written in specs: its name, or a map from its name to its settings.
    fn spec(&self) -> Value {
        let (name, settings) = (self.name(), self.settings());
        if settings.is_empty() { json!(name) } else { json!({ name: settings }) }
    }

    /// The method's initial state for a training.
    fn start(&self) -> Box<dyn TrainingMethod>;
}

/// A training method in a running training. For each update of the weights the trainer calls
/// [`prepare`](Self::prepare), [`craft`](Self::craft) if samples are drawn, [`loss`](Self::loss),
/// [`after_backward`](Self::after_backward) and [`after_update`](Self::after_update), in this
/// order.
pub trait TrainingMethod: Send {
    /// Number of updates of the weights on each batch.
    fn updates(&self) -> usize {
        1
    }

    /// Inspects the samples before anything changes them.
    fn prepare(&mut self, samples: &Samples<'_>) -> Result<()> {
        let _ = samples;
        Ok(())
    }

    /// Crafts adversarial examples to replace the drawn samples of `case`. `None` keeps the samples
    /// unchanged.
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>>;

    /// The loss of the batch with its adversarial examples. `None` stands for that of the settings, whose
    /// pass a GPU can repeat from a recording.
    fn loss(&mut self, forward: &mut Forward<'_>) -> Result<Option<Loss>> {
        let _ = forward;
        Ok(None)
    }

    /// Inspects the gradients of the weights, and may add to them. Returns the value of the added
    /// term, if there is one.
    fn after_backward(&mut self, gradients: &mut Gradients) -> Result<Option<f64>> {
        let _ = gradients;
        Ok(None)
    }

    /// Whether [`after_update`](Self::after_update) needs the gradient of the examples.
    fn wants_example_gradient(&self) -> bool {
        false
    }

    /// Called after the weights were updated. `example_gradient` (M, 3, H, W) is the loss's
    /// gradient with respect to the drawn samples' examples, if it was requested and samples were
    /// drawn.
    fn after_update(&mut self, example_gradient: Option<&Tensor>) -> Result<()> {
        let _ = example_gradient;
        Ok(())
    }

    /// The running linearity of the loss along the method's perturbations, if the method measures
    /// it. The monitor records it with its readings, at no further pass.
    fn linearity(&self) -> Option<f64> {
        None
    }

    /// The state that must survive an interruption: f32 tensors by name.
    fn state(&self) -> BTreeMap<String, Tensor> {
        BTreeMap::new()
    }

    /// Restores the tensors of [`state`](Self::state).
    ///
    /// # Errors
    /// If there is a tensor that the method does not know. Nothing has changed then.
    fn restore(&mut self, state: BTreeMap<String, Tensor>) -> Result<()> {
        no_more(state)
    }
}

/// Refuses the tensors of a saved state that no method has claimed.
pub(crate) fn no_more(state: BTreeMap<String, Tensor>) -> Result<()> {
    let Some(name) = state.into_keys().next() else { return Ok(()) };
    Err(Error::Mismatch {
        what: format!("tensor {name}"),
        expected: "a tensor of this network or method".into(),
        actual: "one of another".into(),
    })
}

/// The loss of a batch, as scalar tensors.
pub struct Loss {
    /// The loss that records and progress report.
    pub value: Tensor,
    /// An additional term to minimise.
    pub additional: Option<Tensor>,
}

/// A batch in the network's training mode: weights are tracked, and running statistics are updated.
pub struct Forward<'a> {
    pub(crate) network: &'a Network,
    pub(crate) images: &'a Tensor,
    pub(crate) labels: &'a Tensor,
    pub(crate) mode: Mode<'a>,
    pub(crate) criterion: &'a Criterion,
    /// Small logits of the network's auxiliary head, once the batch went through the network.
    pub(crate) auxiliary: Option<Tensor>,
}

impl<'a> Forward<'a> {
    /// The network.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// The images (N, 3, H, W), with adversarial examples in the positions of the drawn samples.
    pub fn images(&self) -> &'a Tensor {
        self.images
    }

    /// The labels (N, H, W), u8.
    pub fn labels(&self) -> &'a Tensor {
        self.labels
    }

    /// The network's small logits (N, h, w, K).
    ///
    /// # Errors
    /// If the network fails.
    pub fn logits(&mut self) -> Result<Tensor> {
        if self.network.auxiliary_loss().is_none() {
            return Ok(self.network.forward(self.images, &mut self.mode)?);
        }
        Ok(self.branch_logits()?.swap_remove(0))
    }

    /// The small logits of the main head and of each branch, in the order of [`Method::branches`].
    ///
    /// # Errors
    /// If the network fails.
    pub fn branch_logits(&mut self) -> Result<Vec<Tensor>> {
        let mut logits = self.network.forward_all(self.images, &mut self.mode)?;
        if self.network.auxiliary_loss().is_some() {
            self.auxiliary = logits.pop();
        }
        Ok(logits)
    }

    /// The loss of the settings, of a forward pass.
    pub(crate) fn loss_of_settings(&mut self) -> Result<Loss> {
        let logits = self.logits()?;
        Ok(Loss { value: self.loss(&logits)?, additional: None })
    }

    /// The weighted loss of the network's auxiliary head, if it has one. Every method
    /// trains it: the step adds it to the method's loss.
    pub(crate) fn auxiliary_loss(&self) -> Result<Option<Tensor>> {
        match (&self.auxiliary, self.network.auxiliary_loss()) {
            (Some(logits), Some(weight)) => Ok(Some((self.loss(logits)? * weight)?)),
            _ => Ok(None),
        }
    }

    /// The loss of the settings for small `logits` (N, h, w, K), a scalar.
    ///
    /// # Errors
    /// If the logits do not fit the labels.
    pub fn loss(&self, logits: &Tensor) -> Result<Tensor> {
        self.criterion.value(logits, self.labels, self.network.alignment())
    }
}
