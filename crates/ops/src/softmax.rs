//! Probabilities of classes, and their logarithms.

use candle_core::{D, Result, Tensor};

/// Below about this value a probability counts as this value in [`log_probabilities`].
const LEAST: f64 = 1e-30;

/// The softmax of `x` over its last axis, the classes. It is built from operations of candle, so
/// that it runs on every device.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::softmax;
/// # fn main() -> candle_core::Result<()> {
/// let p = softmax(&Tensor::new(&[[0_f32, 3_f32.ln()]], &Device::Cpu)?)?.to_vec2::<f32>()?;
/// assert!((p[0][0] - 0.25).abs() < 1e-6 && (p[0][1] - 0.75).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `x` has no axes or its last axis is empty.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // The largest value cancels, so its gradient does too.
    let largest = x.max_keepdim(D::Minus1)?.detach();
    let powers = x.broadcast_sub(&largest)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

/// The logarithms of `probabilities`: logits with the same softmax, predictions and cross-entropy.
/// A probability of 0 counts as 1e-30. Its gradient is then finite, and the cross-entropy of a
/// pixel is at most 69.
///
/// # Errors
/// If `probabilities` are no floating-point numbers.
pub fn log_probabilities(probabilities: &Tensor) -> Result<Tensor> {
    (probabilities + LEAST)?.log()
}
