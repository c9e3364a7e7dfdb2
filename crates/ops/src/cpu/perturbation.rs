//! The arithmetic of sign-gradient attacks.

use super::sweep::Pixel;
use crate::operation::{CpuInputs, OnCpu};
use crate::perturbation::{L1Norm, Project, SignStep};
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl OnCpu<3> for SignStep {
    fn compute(&self, [image, gradient, step]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let gradient = gradient.slice()?;
        Ok(match image.storage {
            CpuStorage::F64(_) => CpuStorage::F64(sign_step(image.slice()?, gradient, step.slice()?)),
            _ => CpuStorage::F32(sign_step(image.slice()?, gradient, step.slice()?)),
        })
    }
}

impl OnCpu<3> for Project {
    fn compute(&self, [image, origin, epsilon]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        Ok(match image.storage {
            CpuStorage::F64(_) => CpuStorage::F64(project(image.slice()?, origin.slice()?, epsilon.slice()?)),
            _ => CpuStorage::F32(project(image.slice()?, origin.slice()?, epsilon.slice()?)),
        })
    }
}

impl OnCpu<1> for L1Norm {
    fn compute(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(l1_norm(x.slice()?, x.dims()[0])))
    }
}

/// `value`, or the nearer end of the range if it lies outside.
fn limit<T: Pixel>(value: T, low: T, high: T) -> T {
    if value < low {
        low
    } else if value > high {
        high
    } else {
        value
    }
}

/// `clip01(image + step[n] * sign(gradient))` for images of `size` elements. The sign of zero is
/// zero.
fn sign_step<T: Pixel>(image: &[T], gradient: &[f32], step: &[T]) -> Vec<T> {
    let size = image.len() / step.len();
    let mut out = image.to_vec();
    out.par_chunks_mut(size).zip(gradient.par_chunks(size)).zip(step).for_each(|((out, gradient), &step)| {
        for (value, &g) in out.iter_mut().zip(gradient) {
            let sign = T::from(f32::from(g > 0.0) - f32::from(g < 0.0));
            *value = limit(*value + step * sign, T::from(0.0), T::from(1.0));
        }
    });
    out
}

/// `clip01(min(max(image, origin - epsilon[n]), origin + epsilon[n]))`.
fn project<T: Pixel>(image: &[T], origin: &[T], epsilon: &[T]) -> Vec<T> {
    let size = image.len() / epsilon.len();
    let mut out = image.to_vec();
    out.par_chunks_mut(size).zip(origin.par_chunks(size)).zip(epsilon).for_each(
        |((out, origin), &epsilon)| {
            for (value, &origin) in out.iter_mut().zip(origin) {
                let inside = limit(*value, origin - epsilon, origin + epsilon);
                *value = limit(inside, T::from(0.0), T::from(1.0));
            }
        },
    );
    out
}

/// Sum of absolute values of each of `images` equal parts.
fn l1_norm(x: &[f32], images: usize) -> Vec<f32> {
    x.par_chunks(x.len() / images)
        .map(|image| {
            let blocks =
                image.chunks(4096).map(|block| f64::from(block.iter().map(|value| value.abs()).sum::<f32>()));
            blocks.sum::<f64>() as f32
        })
        .collect()
}
