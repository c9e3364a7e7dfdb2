//! The Gaussian error linear unit.

use super::element::{ByElement, Element};
use super::elementary::{exp, normal_below};
use super::sweep::BLOCK;
use crate::gelu::{Gelu, GeluGradient};
use crate::operation::CpuInputs;
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// 1 / sqrt(2 pi), the density of the standard normal distribution at 0.
const DENSITY: f32 = 0.398_942_3;

impl ByElement<1> for Gelu {
    fn compute<T: Element>(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        let x = x.slice::<T>()?;
        let mut out = vec![T::default(); x.len()];
        out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(out, x)| {
            Arch::new().dispatch(Values { out, x });
        });
        Ok(T::to_cpu_storage_owned(out))
    }
}

impl ByElement<2> for GeluGradient {
    fn compute<T: Element>(&self, [x, gradient]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let (x, gradient) = (x.slice::<T>()?, gradient.slice::<T>()?);
        let mut out = vec![T::default(); x.len()];
        let inputs = x.par_chunks(BLOCK).zip(gradient.par_chunks(BLOCK));
        out.par_chunks_mut(BLOCK).zip(inputs).for_each(|(out, (x, gradient))| {
            Arch::new().dispatch(Slopes { out, x, gradient });
        });
        Ok(T::to_cpu_storage_owned(out))
    }
}

struct Values<'a, T> {
    out: &'a mut [T],
    x: &'a [T],
}

impl<T: Element> NullaryFnOnce for Values<'_, T> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        for (out, x) in self.out.iter_mut().zip(self.x) {
            let x = x.wide();
            *out = T::rounded(x * normal_below(x));
        }
    }
}

struct Slopes<'a, T> {
    out: &'a mut [T],
    x: &'a [T],
    gradient: &'a [T],
}

impl<T: Element> NullaryFnOnce for Slopes<'_, T> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        for ((out, x), gradient) in self.out.iter_mut().zip(self.x).zip(self.gradient) {
            let x = x.wide();
            let density = DENSITY * exp(-0.5 * x * x);
            *out = T::rounded(gradient.wide() * x.mul_add(density, normal_below(x)));
        }
    }
}
