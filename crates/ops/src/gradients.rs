//! The gradients that a backward pass leaves.

use std::collections::HashMap;

use candle_core::{Result, Tensor, TensorId};

/// The gradients of one value with respect to variables. [`crate::Tape::backward`] computes them.
#[derive(Debug, Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// The gradient of `variable`, of its shape. None if the value does not depend on it.
    pub fn get(&self, variable: &Tensor) -> Option<&Tensor> {
        self.0.get(&variable.id())
    }

    /// Takes the gradient of `variable` out.
    pub fn remove(&mut self, variable: &Tensor) -> Option<Tensor> {
        self.0.remove(&variable.id())
    }

    /// Replaces the gradient of `variable`. Returns the one before.
    pub fn insert(&mut self, variable: &Tensor, gradient: Tensor) -> Option<Tensor> {
        self.0.insert(variable.id(), gradient)
    }

    /// Adds `others` to these.
    ///
    /// # Errors
    /// If two gradients of one variable do not have the same shape, element type and device.
    pub fn extend(&mut self, others: Self) -> Result<()> {
        others.0.into_iter().try_for_each(|(id, gradient)| self.add(id, gradient))
    }

    pub(crate) fn add(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        let sum = match self.0.remove(&id) {
            // No gradient of a gradient is ever taken, so candle need not record the sum.
            Some(before) => (before.detach() + gradient.detach())?,
            None => gradient,
        };
        self.0.insert(id, sum);
        Ok(())
    }

    pub(crate) fn of(&self, id: TensorId) -> Option<&Tensor> {
        self.0.get(&id)
    }

    pub(crate) fn take(&mut self, id: TensorId) -> Option<Tensor> {
        self.0.remove(&id)
    }

    /// Whether any of these shares its memory with `tensor`.
    pub(crate) fn share(&self, tensor: &Tensor) -> bool {
        let address = memory(tensor);
        self.0.values().any(|other| memory(other) == address)
    }
}

/// The address of a tensor's storage. Tensors that share their memory have the same.
fn memory(tensor: &Tensor) -> *const candle_core::Storage {
    let (storage, _) = tensor.storage_and_layout();
    &raw const *storage
}
