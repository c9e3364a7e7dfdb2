//! Two vectors as the rows of a matrix.

use crate::operation::{CpuInputs, OnCpu};
use crate::pair::Pair;
use candle_core::{CpuStorage, Result};

impl OnCpu<2> for Pair {
    fn compute(&self, [first, second]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32([first.slice::<f32>()?, second.slice()?].concat()))
    }
}
