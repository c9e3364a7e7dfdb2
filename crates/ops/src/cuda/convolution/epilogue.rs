//! What happens to a product before it is written.

use super::key::Product;
use crate::cuda::element::{Element, stamped};
use crate::cuda::launch::{launch, sheet};
use crate::geometry::Geometry;
use candle_core::{CudaDevice, Result};

/// A step that follows a product, with its operand: a tensor, its address, or nothing where only the kind
/// of the step matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cuda) enum Epilogue<A = ()> {
    /// A tensor of the result's shape is added.
    Add(A),
    /// A bias (O) of the elements' type is added to every pixel of an output, and what is negative becomes
    /// zero.
    BiasRelu(A),
}

impl<A> Epilogue<A> {
    pub(super) fn operand(&self) -> &A {
        match self {
            Self::Add(operand) | Self::BiasRelu(operand) => operand,
        }
    }

    pub(super) fn map<B>(self, change: impl FnOnce(A) -> B) -> Epilogue<B> {
        match self {
            Self::Add(operand) => Epilogue::Add(change(operand)),
            Self::BiasRelu(operand) => Epilogue::BiasRelu(change(operand)),
        }
    }

    pub(super) fn kind(&self) -> Epilogue {
        match self {
            Self::Add(_) => Epilogue::Add(()),
            Self::BiasRelu(_) => Epilogue::BiasRelu(()),
        }
    }
}

impl<A> Epilogue<Result<A>> {
    pub(super) fn transpose(self) -> Result<Epilogue<A>> {
        Ok(match self {
            Self::Add(operand) => Epilogue::Add(operand?),
            Self::BiasRelu(operand) => Epilogue::BiasRelu(operand?),
        })
    }
}

/// [`Epilogue::BiasRelu`] as a pass of its own over the output at the address `output`, in place.
pub(super) fn bias_relu<T: Element>(device: &CudaDevice, g: &Geometry, output: u64, bias: u64) -> Result<()> {
    let channels = g.output[2];
    let rows = Product::Output.size(g) / channels;
    let aligned = [output, bias].into_iter().all(|address| address.is_multiple_of(16));
    let width = if aligned && channels.is_multiple_of(T::WIDTH) { T::WIDTH } else { 1 };
    let (name, blocks) = (stamped::<T>("bias_relu", width), sheet(rows, channels, width, 8));
    launch!(device, &name, blocks, &output, &bias, &(rows as u64), &(channels as u32));
    Ok(())
}
