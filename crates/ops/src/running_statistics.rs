//! Running statistics of batch norm, in place.

use crate::batch_norm::BatchStatistics;
use crate::error;
use crate::in_place::{Update, update1};
use candle_core::{DType, Result, Tensor};

/// Moves the `running` statistics of a batch norm towards those of a batch, in place: `mean = (1 -
/// momentum) mean + momentum batch.mean`, and so the variance, with `unbiased batch.variance`. No
/// gradient flows through them. A GPU takes a launch for each.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{BatchStatistics, move_running_statistics};
/// # fn main() -> candle_core::Result<()> {
/// let new = |value: f32| Tensor::new(&[value], &Device::Cpu);
/// let (mean, variance) = (new(0.0)?, new(1.0)?);
/// let batch = BatchStatistics::new(new(4.0)?, new(2.0)?);
/// move_running_statistics([&mean, &variance], &batch, 0.25, 2.0)?;
/// assert_eq!((mean.to_vec1::<f32>()?, variance.to_vec1::<f32>()?), (vec![1.0], vec![1.75]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes differ, or an element is not f32.
pub fn move_running_statistics(
    [mean, variance]: [&Tensor; 2],
    batch: &BatchStatistics,
    momentum: f64,
    unbiased: f64,
) -> Result<()> {
    const NAME: &str = "move_running_statistics";
    for (running, new, factor) in [(mean, &batch.mean, 1.0), (variance, &batch.variance, unbiased)] {
        for tensor in [running, new] {
            error::dtype(NAME, DType::F32, tensor)?;
        }
        if running.dims() != new.dims() {
            return Err(error::shape(NAME, format!("shape {:?} of the batch's", new.dims()), running));
        }
        let blend = Blend { kept: (1.0 - momentum) as f32, taken: (momentum * factor) as f32 };
        update1(&blend, running, &new.contiguous()?)?;
    }
    Ok(())
}

/// Overwrites running statistics, given those of a batch.
pub(crate) struct Blend {
    /// The factor of the running ones.
    pub(crate) kept: f32,
    /// The factor of the batch's.
    pub(crate) taken: f32,
}

impl Update<1> for Blend {
    const NAME: &'static str = "move_running_statistics";
}
