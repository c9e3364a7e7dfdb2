//! The cost of attacks in passes through the model.

use std::cell::Cell;
use std::ops::AddAssign;

use candle_core::{DType, Result, Tensor};
use robustseg_ops::{Alignment, Pass};
use serde::{Deserialize, Serialize};

use crate::{Model, OnModel, repeated};

/// Passes of single images through a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Forward passes, including those before a backward pass.
    pub forward: u64,
    /// Backward passes.
    pub backward: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
    }
}

/// A model that counts its passes. A forward pass on a tracked image counts as one with a backward
/// pass, as in [`input_gradient`](crate::input_gradient).
pub struct Counted<'a> {
    model: &'a dyn Model,
    cost: Cell<Cost>,
}

impl<'a> Counted<'a> {
    /// `model` with a count of zero.
    pub fn new(model: &'a dyn Model) -> Self {
        Self { model, cost: Cell::default() }
    }

    fn count(&self, image: &Tensor, tracked: bool) -> Result<()> {
        let images = image.dim(0)? as u64;
        let Cost { forward, backward } = self.cost.get();
        let tracked = if tracked { images } else { 0 };
        self.cost.set(Cost { forward: forward + images, backward: backward + tracked });
        Ok(())
    }

    /// The passes since the last call.
    pub fn take(&self) -> Cost {
        self.cost.take()
    }
}

impl Model for Counted<'_> {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        self.count(image, image.track_op())?;
        self.model.logits(image)
    }

    fn image_dtype(&self) -> DType {
        self.model.image_dtype()
    }

    fn alignment(&self) -> Alignment {
        self.model.alignment()
    }

    fn has_surrogate_gradient(&self) -> bool {
        self.model.has_surrogate_gradient()
    }

    fn repeat(&self, pass: &Pass<'_>, compute: OnModel<'_>) -> Option<Result<Vec<Tensor>>> {
        Some(self.count(pass.inputs[0], true).and_then(|()| repeated(self.model, pass, compute)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// A model that overrides every method.
    struct Odd;

    impl Model for Odd {
        fn logits(&self, image: &Tensor) -> Result<Tensor> {
            image.permute((0, 2, 3, 1))
        }

        fn image_dtype(&self) -> DType {
            DType::F64
        }

        fn alignment(&self) -> Alignment {
            Alignment::AlignCorners
        }

        fn has_surrogate_gradient(&self) -> bool {
            true
        }
    }

    #[test]
    fn counting_changes_nothing() -> Result<()> {
        let counted = Counted::new(&Odd);
        assert_eq!((counted.image_dtype(), counted.alignment()), (DType::F64, Alignment::AlignCorners));
        assert!(counted.has_surrogate_gradient());
        let image = Tensor::rand(0.0, 1.0, (2, 3, 4, 5), &Device::Cpu)?;
        assert_eq!(
            counted.logits(&image)?.flatten_all()?.to_vec1::<f64>()?,
            Odd.logits(&image)?.flatten_all()?.to_vec1::<f64>()?
        );
        assert_eq!(counted.take(), Cost { forward: 2, backward: 0 });
        assert_eq!(counted.take(), Cost::default());
        Ok(())
    }
}
