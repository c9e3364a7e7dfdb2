//! The gradients that a backward pass leaves.

use std::collections::HashMap;

use crate::in_place::{Update, update1};
use candle_core::{DType, Result, Tensor, TensorId};

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
        for (id, gradient) in others.0 {
            // In new memory, because callers may keep tensors of these.
            let sum = self.0.get(&id).map(|before| sum_of(before, &gradient)).transpose()?;
            self.0.insert(id, sum.unwrap_or(gradient));
        }
        Ok(())
    }

    /// Adds `gradient` to that of `id`, in its memory if no other gradient shares it.
    pub(crate) fn add(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        let sum = match self.0.remove(&id) {
            Some(before) if self.can_add(&before, &gradient) => {
                update1(&Add, &before, &gradient.contiguous()?)?;
                before
            }
            Some(before) => sum_of(&before, &gradient)?,
            None => gradient,
        };
        self.0.insert(id, sum);
        Ok(())
    }

    /// Whether [`Add`] suits these two, and none of these shares the memory of `before`.
    fn can_add(&self, before: &Tensor, gradient: &Tensor) -> bool {
        let plain =
            |tensor: &Tensor| tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::BF16);
        let alike = before.dims() == gradient.dims() && before.dtype() == gradient.dtype();
        let fits = plain(before) && plain(gradient) && alike;
        fits && before.is_contiguous() && memory(before) != memory(gradient) && !self.share(before)
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

/// The sum of two gradients. No gradient of it is ever taken, so candle need not record it.
fn sum_of(before: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    before.detach() + gradient.detach()
}

/// Adds a tensor to another in place.
pub(crate) struct Add;

impl Update<1> for Add {
    const NAME: &'static str = "add_gradient";
}

// GPUs add gradients inside the kernels that compute them, or by candle's sum.
#[cfg(feature = "cuda")]
impl crate::in_place::UpdateOnGpu<1> for Add {}
