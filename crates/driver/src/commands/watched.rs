//! Progress of an attack for a waiting user.

use std::cell::{Cell, RefCell};

use candle_core::{DType, Result, Tensor};
use robustseg_attacks::{Model, OnModel, Pass, repeated};
use robustseg_ops::Alignment;

use crate::progress::Meter;

/// A model that reports the progress of an attack on it. Each gradient counts as one step.
pub(super) struct Watched<'a> {
    model: &'a dyn Model,
    meter: RefCell<Meter>,
    done: Cell<u64>,
    total: u64,
}

impl<'a> Watched<'a> {
    /// `model` under an attack with about `total` gradients.
    pub(super) fn new(model: &'a dyn Model, total: u64) -> Self {
        Self { model, meter: RefCell::new(Meter::new()), done: Cell::new(0), total }
    }

    fn advance(&self) {
        let done = self.done.get();
        self.meter.borrow_mut().advance("attacking", done, self.total.max(done + 1));
        self.done.set(done + 1);
    }
}

impl Model for Watched<'_> {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        if image.track_op() {
            self.advance();
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
        self.advance();
        Some(repeated(self.model, pass, compute))
    }
}
