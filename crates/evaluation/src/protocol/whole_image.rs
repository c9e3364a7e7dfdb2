//! The protocol of evaluations that name none.

use candle_core::Tensor;
use robustseg_attacks::Model;

use super::Rules;
use crate::window::Views;

/// The image unchanged.
pub(super) struct WholeImage;

impl Rules for WholeImage {
    fn name(&self) -> &'static str {
        "whole_image"
    }

    fn words(&self) -> String {
        self.name().into()
    }

    fn views(&self, height: usize, width: usize) -> Vec<Views> {
        vec![Views { count: 1, height, width }]
    }

    fn logits(&self, model: &dyn Model, image: &Tensor, _: [f32; 3]) -> candle_core::Result<Tensor> {
        model.logits(image)
    }

    fn passes_on(&self) -> bool {
        true
    }
}
