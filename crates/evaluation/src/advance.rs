//! How far an evaluation is.

use std::cell::RefCell;
use std::ops::ControlFlow;

use candle_core::{DType, Result, Tensor, bail};
use robustseg_attacks::{Alignment, Model, OnModel, Pass, repeated};

/// How far an evaluation is, in images and in passes. One image may take hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// Images done.
    pub images: u64,
    /// All images.
    pub of_images: u64,
    /// Passes done. Once an image is done, all its passes are.
    pub passes: u64,
    /// An upper bound on all passes, see
    /// [`passes_per_image`](crate::EvaluationConfig::passes_per_image).
    pub of_passes: u64,
}

/// A callback that learns how far the evaluation is, before each backward pass of an attack and
/// after each batch.
pub type OnProgress<'a> = &'a mut dyn FnMut(Advance);

impl Advance {
    /// `images` of `of_images` done, each of `per_image` passes, and `passes` for the next `batch`
    /// images, of which none is done.
    pub(crate) fn new(images: u64, of_images: u64, per_image: u64, passes: u64, batch: u64) -> Self {
        let within = passes.min(batch.saturating_mul(per_image.saturating_sub(1)));
        Self {
            images,
            of_images,
            passes: images.saturating_mul(per_image).saturating_add(within),
            of_passes: of_images.saturating_mul(per_image),
        }
    }
}

/// A callback that receives the number of images in each backward pass, before it, and decides whether
/// to go on.
pub(crate) type Passed<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// A model that tells how many images it has differentiated.
pub(crate) struct Reported<'a> {
    model: &'a dyn Model,
    report: RefCell<Passed<'a>>,
}

impl<'a> Reported<'a> {
    /// `model` that calls `report` with the number of images of each tracked pass. Once that breaks off,
    /// the model gives an error.
    pub(crate) fn new(model: &'a dyn Model, report: Passed<'a>) -> Self {
        Self { model, report: RefCell::new(report) }
    }

    /// Reports a pass over these images.
    fn report(&self, image: &Tensor) -> Result<()> {
        if (self.report.borrow_mut())(image.dim(0)? as u64).is_break() {
            bail!("stopped before a backward pass");
        }
        Ok(())
    }
}

impl Model for Reported<'_> {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        if image.track_op() {
            self.report(image)?;
        }
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
        Some(self.report(pass.inputs[0]).and_then(|()| repeated(self.model, pass, compute)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_of_a_batch_never_complete_it() {
        let of = |passes| Advance::new(2, 5, 10, passes, 2);
        let advance = Advance { images: 2, of_images: 5, passes: 27, of_passes: 50 };
        assert_eq!(of(7), advance);
        // An attack may take more passes than it announced.
        assert_eq!([0, 18, 99].map(|passes| of(passes).passes), [20, 38, 38]);
        let done = Advance::new(5, 5, 10, 0, 0);
        assert_eq!((done.passes, done.of_passes), (50, 50));
    }
}
