//! Copies of many small tensors.

use candle_core::{Result, Tensor};

/// Copies of `tensors`, each contiguous with memory that no other tensor outside the result uses. A
/// GPU takes one launch for all, if their elements are f32: snapshots of a network's running
/// statistics would otherwise take a hundred.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let (x, y) = (Tensor::new(&[1_f32, 2.0], &Device::Cpu)?, Tensor::new(&[[3_f32]], &Device::Cpu)?);
/// let copied = robustseg_ops::copies(&[&x, &y])?;
/// assert_eq!(copied[0].to_vec1::<f32>()?, [1.0, 2.0]);
/// assert_eq!(copied[1].to_vec2::<f32>()?, [[3.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is no memory.
pub fn copies(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    #[cfg(feature = "cuda")]
    if let Some(copies) = crate::cuda::copies::of(tensors)? {
        return Ok(copies);
    }
    tensors.iter().map(|tensor| tensor.copy()).collect()
}
