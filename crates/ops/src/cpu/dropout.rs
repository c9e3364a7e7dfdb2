//! What dropout drops.

use crate::dropout::DropoutFactors;
use crate::operation::{CpuInputs, OnCpu};
use candle_core::{CpuStorage, Result};

impl OnCpu<1> for DropoutFactors {
    fn compute(&self, [uniforms]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        let factor = |uniform: &f64| if *uniform < self.rate { 0.0 } else { self.kept() };
        Ok(CpuStorage::F32(uniforms.slice::<f64>()?.iter().map(factor).collect()))
    }
}
