//! The Gaussian error linear unit.

use super::elementary::{exp, normal_below};
use super::sweep::BLOCK;
use crate::gelu::{Gelu, GeluGradient};
use crate::operation::{CpuInputs, OnCpu};
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// 1 / sqrt(2 pi), the density of the standard normal distribution at 0.
const DENSITY: f32 = 0.398_942_3;

impl OnCpu<1> for Gelu {
    fn compute(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        let x = x.slice::<f32>()?;
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(out, x)| {
            Arch::new().dispatch(Values { out, x });
        });
        Ok(CpuStorage::F32(out))
    }
}

impl OnCpu<2> for GeluGradient {
    fn compute(&self, [x, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (x, gradient) = (x.slice::<f32>()?, gradient.slice::<f32>()?);
        let mut out = vec![0.0; x.len()];
        let inputs = x.par_chunks(BLOCK).zip(gradient.par_chunks(BLOCK));
        out.par_chunks_mut(BLOCK).zip(inputs).for_each(|(out, (x, gradient))| {
            Arch::new().dispatch(Slopes { out, x, gradient });
        });
        Ok(CpuStorage::F32(out))
    }
}

struct Values<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
}

impl NullaryFnOnce for Values<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        for (out, x) in self.out.iter_mut().zip(self.x) {
            *out = x * normal_below(*x);
        }
    }
}

struct Slopes<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    gradient: &'a [f32],
}

impl NullaryFnOnce for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        for ((out, x), gradient) in self.out.iter_mut().zip(self.x).zip(self.gradient) {
            let density = DENSITY * exp(-0.5 * x * x);
            *out = gradient * x.mul_add(density, normal_below(*x));
        }
    }
}
