//! Running statistics of batch norm, in place.

use crate::in_place::UpdateOnCpu;
use crate::operation::CpuInputs;
use crate::running_statistics::Blend;
use candle_core::Result;

impl UpdateOnCpu<1> for Blend {
    fn update(&self, running: &mut [f32], [new]: CpuInputs<'_, 1>) -> Result<()> {
        let Self { kept, taken } = *self;
        for (running, new) in running.iter_mut().zip(new.slice::<f32>()?) {
            // The zeros turn a zero's sign as candle's product with a number does.
            *running = (*running * kept + 0.0) + (new * taken + 0.0);
        }
        Ok(())
    }
}
