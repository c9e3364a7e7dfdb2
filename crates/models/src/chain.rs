//! Convolutions, each before a norm with `ReLU`, one after the other.

use std::borrow::Cow;

use crate::layer::{Convolution, NormRelu};
use crate::run::Run;
use candle_core::{Result, Tensor};

/// A map, and the norm with `ReLU` that it has yet to pass, if any.
///
/// The norm waits for the layer behind it: in training that computes the activated map again instead of
/// keeping it. In evaluation on a GPU in bf16 no norm waits, because it is folded into the convolution before
/// it (`robustseg_ops::FoldedNorm`).
pub(crate) struct Chain<'a> {
    /// A borrowed map keeps its values. An owned one may be overwritten.
    x: Cow<'a, Tensor>,
    norm: Option<&'a NormRelu>,
}

impl<'a> Chain<'a> {
    /// The map `x`, which has no norm to pass.
    pub(crate) fn of(x: &'a Tensor) -> Self {
        Self { x: Cow::Borrowed(x), norm: None }
    }

    /// The map `x` before `norm`.
    pub(crate) fn before(x: &'a Tensor, norm: &'a NormRelu) -> Self {
        Self { x: Cow::Borrowed(x), norm: Some(norm) }
    }

    /// The output of `convolution`, before `norm`.
    pub(crate) fn then<'b>(
        self,
        convolution: &Convolution,
        norm: &'b NormRelu,
        run: &Run<'_, '_>,
    ) -> Result<Chain<'b>> {
        let (x, norm) = match norm.folded_into(convolution, &self.x, run)? {
            Some(folded) => match self.norm {
                Some(first) => (first.convolve_folded(&self.x, convolution, &folded, run)?, None),
                None => (convolution.forward_folded(&self.x, &folded, run)?, None),
            },
            None => (self.convolve(convolution, run)?, Some(norm)),
        };
        Ok(Chain { x: Cow::Owned(x), norm })
    }

    /// The output of `convolution`.
    pub(crate) fn convolve(self, convolution: &Convolution, run: &Run<'_, '_>) -> Result<Tensor> {
        match (self.norm, self.x) {
            (None, x) => convolution.forward(&x, run),
            (Some(norm), Cow::Borrowed(x)) => norm.convolve_keeping(x, convolution, run),
            (Some(norm), Cow::Owned(x)) => norm.convolve(x, convolution, run),
        }
    }

    /// The map behind its norm.
    pub(crate) fn finish(self, run: &Run<'_, '_>) -> Result<Tensor> {
        match (self.norm, self.x) {
            (None, x) => Ok(x.into_owned()),
            (Some(norm), Cow::Borrowed(x)) => norm.forward_keeping(x, run),
            (Some(norm), Cow::Owned(x)) => norm.forward(x, run),
        }
    }
}
