//! Faults in the arguments of an operation.

use candle_core::{DType, Tensor};

/// A fault in the arguments of an operation. It reaches callers wrapped in [`candle_core::Error`],
/// so that operations chain with candle's own by `?`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor's shape does not fit the operation.
    #[error("{operation}: expected {expected}, found shape {actual:?}")]
    Shape {
        /// The operation that was called.
        operation: &'static str,
        /// The shape that it needs.
        expected: String,
        /// The shape that was passed.
        actual: Vec<usize>,
    },
    /// A tensor's element type does not fit the operation.
    #[error("{operation}: expected elements of type {expected:?}, found {actual:?}")]
    Type {
        /// The operation that was called.
        operation: &'static str,
        /// The type that it needs.
        expected: DType,
        /// The type that was passed.
        actual: DType,
    },
    /// A label is a class that the logits do not have.
    #[error(
        "{operation}: label {label} at image {image}, row {row}, column {column}, but the logits have \
         {classes} classes (255 = not labelled)"
    )]
    Label {
        /// The operation that was called.
        operation: &'static str,
        /// The label's value.
        label: u8,
        /// Index of the image in the batch.
        image: usize,
        /// Row of the pixel.
        row: usize,
        /// Column of the pixel.
        column: usize,
        /// Number of classes of the logits.
        classes: usize,
    },
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        candle_core::Error::wrap(error)
    }
}

/// The error for a `tensor` whose shape `operation` does not accept.
pub(crate) fn shape(
    operation: &'static str,
    expected: impl Into<String>,
    tensor: &Tensor,
) -> candle_core::Error {
    Error::Shape { operation, expected: expected.into(), actual: tensor.dims().to_vec() }.into()
}

/// The four dimensions of `tensor`, none of them 0, or an error that says what `operation` expects.
pub(crate) fn dims4(
    operation: &'static str,
    expected: &str,
    tensor: &Tensor,
) -> candle_core::Result<(usize, usize, usize, usize)> {
    match *tensor.dims() {
        [a, b, c, d] if a > 0 && b > 0 && c > 0 && d > 0 => Ok((a, b, c, d)),
        _ => Err(shape(operation, expected, tensor)),
    }
}

/// Requires elements of an activation: f32 or bf16.
pub(crate) fn activation(operation: &'static str, tensor: &Tensor) -> candle_core::Result<()> {
    if tensor.dtype() == DType::BF16 { Ok(()) } else { dtype(operation, DType::F32, tensor) }
}

/// Requires elements of the `weight` of a product with `activation`: of its type on a GPU, f32 on the CPU,
/// whose products round it themselves.
pub(crate) fn weight(
    operation: &'static str,
    activation: &Tensor,
    weight: &Tensor,
) -> candle_core::Result<()> {
    let expected = if weight.device().is_cpu() { DType::F32 } else { activation.dtype() };
    dtype(operation, expected, weight)
}

/// Requires elements of type `expected`.
pub(crate) fn dtype(operation: &'static str, expected: DType, tensor: &Tensor) -> candle_core::Result<()> {
    if tensor.dtype() == expected {
        Ok(())
    } else {
        Err(Error::Type { operation, expected, actual: tensor.dtype() }.into())
    }
}
