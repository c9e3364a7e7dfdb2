//! The choice among ways to compute a product: each has to give the numbers that are known to be
//! right, and where times are measured, the fastest is taken.

use super::cudnn::{Reason, WORKSPACE};
use super::epilogue::{Epilogue, bias_relu};
use super::key::Key;
use super::warning::warn_once;
use super::way::{Offer, Operands, Way};
use crate::arithmetic::{ConvolutionChoice, Factors};
use crate::cuda::element::{Element, stamped};
use crate::cuda::launch::{grid, launch};
use crate::cuda::memory::room;
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut};
use candle_core::{CudaDevice, DType, Result};
use std::ffi::c_void;
use std::sync::Once;
use std::time::{Duration, Instant};

/// The time after which no further way to compute a product is measured.
const PATIENCE: Duration = Duration::from_millis(250);

/// Measurements of a way, of which the fastest counts.
const ROUNDS: usize = 3;

/// The outcome of a trial.
pub(super) enum Outcome {
    /// The best way, with its time if that was measured.
    Found(Box<dyn Way>, Option<f32>),
    /// Nothing is right, or nothing is faster.
    Nothing,
    /// The known numbers say too little about others. A later call may have better ones.
    Undecided,
}

/// What a trial compares with.
pub(super) struct Known<'a, T> {
    /// The product of the operands, after the epilogue.
    pub(super) result: &'a CudaSlice<T>,
    /// The time that the product took without the epilogue, if that was measured.
    pub(super) milliseconds: Option<f32>,
}

/// Tries `offers` on `operands`, whose result is overwritten. Pushes the reasons against ways to
/// `dismissed`.
pub(super) fn trial<T: Element>(
    device: &CudaDevice,
    key: &Key,
    (factors, epilogue): ([*mut c_void; 2], Option<Epilogue<*mut c_void>>),
    known: &Known<'_, T>,
    offers: Vec<Offer>,
    dismissed: &mut Vec<String>,
) -> Result<Outcome> {
    static WRONG: Once = Once::new();
    let (stream, begin) = (device.cuda_stream(), Instant::now());
    let measured = key.arithmetic.choice == ConvolutionChoice::Measured;
    let mut memory: Option<CudaSlice<u8>> = None;
    let mut out = room::<T>(device, known.result.len())?;
    let mut best: Option<(Box<dyn Way>, f32)> = None;
    let mut bar = known.milliseconds;
    if let Some((bar, epilogue)) = bar.as_mut().zip(epilogue).filter(|_| measured) {
        // The older interface copies what is added before the product, and `ReLU` has a pass behind it.
        let mut pass = || match epilogue {
            Epilogue::Add(_) => stream.memcpy_dtod(known.result, &mut out).map_err(|error| error.to_string()),
            Epilogue::BiasRelu(bias) => {
                let (output, _out) = out.device_ptr_mut(&stream);
                bias_relu::<T>(device, &key.geometry, output, bias as u64).map_err(|error| error.to_string())
            }
        };
        *bar += fastest(&stream, &mut pass).unwrap_or(0.0);
    }
    for offer in offers {
        if measured && begin.elapsed() > PATIENCE {
            break;
        }
        let way = match offer() {
            Ok(way) => way,
            Err(reason) => {
                dismissed.push(reason);
                continue;
            }
        };
        if memory.as_ref().map_or(0, CudaSlice::len) < way.workspace().min(WORKSPACE) {
            memory = Some(room(device, way.workspace())?);
        }
        let time = {
            let (result, _out) = out.device_ptr_mut(&stream);
            let place = memory.as_mut().map(|memory| memory.device_ptr_mut(&stream));
            let place = place.as_ref().map_or(std::ptr::null_mut(), |(place, _)| *place as *mut c_void);
            let operands = Operands { factors, epilogue, result: result as *mut c_void };
            if !operands.are_aligned() {
                return Ok(Outcome::Undecided);
            }
            let mut start = || way.start(&stream, operands, place);
            start().and_then(|()| if measured { fastest(&stream, &mut start) } else { Ok(0.0) })
        };
        let time = match time {
            Ok(time) => time,
            Err(reason) => {
                dismissed.push(format!("{}: {reason}", way.name()));
                continue;
            }
        };
        let bar = best.as_ref().map(|(_, time)| *time).or(bar);
        if measured && bar.is_some_and(|bar| time >= bar) {
            continue;
        }
        match deviation::<T>(device, &out, known.result)? {
            None => return Ok(Outcome::Undecided),
            Some(deviation) if deviation > bound::<T>(key) => {
                let share = format!("{}: differs from what is known by {deviation} of it", way.name());
                warn_once(
                    &WRONG,
                    format_args!("a way to compute a convolution on the GPU is wrong and not used: {share}"),
                );
                dismissed.push(share);
            }
            Some(_) => {
                best = Some((way, time));
                if !measured {
                    break;
                }
            }
        }
    }
    Ok(match best {
        Some((way, time)) => Outcome::Found(way, measured.then_some(time)),
        None => Outcome::Nothing,
    })
}

/// The least of a few times, in milliseconds.
fn fastest(
    stream: &CudaStream,
    start: &mut impl FnMut() -> std::result::Result<(), Reason>,
) -> std::result::Result<f32, Reason> {
    let mut least = f32::INFINITY;
    for _ in 0..ROUNDS {
        let mark = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let begin = mark().map_err(|error| error.to_string())?;
        start()?;
        let end = mark().map_err(|error| error.to_string())?;
        least = least.min(begin.elapsed_ms(&end).map_err(|error| error.to_string())?);
    }
    Ok(least)
}

/// How far a way may be from the known result, as a share of the largest value.
fn bound<T: Element>(key: &Key) -> f32 {
    let rounded = T::TYPE == DType::BF16 || key.arithmetic.factors == Factors::Tf32;
    if rounded { 2e-2 } else { 1e-4 }
}

/// The largest difference of two results, as a share of the largest value of the second. `None` if
/// that has only zeros, or something that is not finite.
fn deviation<T: Element>(
    device: &CudaDevice,
    found: &CudaSlice<T>,
    known: &CudaSlice<T>,
) -> Result<Option<f32>> {
    const BLOCKS: usize = 128;
    let (name, count) = (stamped::<T>("deviation", 1), known.len() as u64);
    let mut most = room::<f32>(device, 2 * BLOCKS)?;
    launch!(device, &name, grid([BLOCKS, 1, 1]), found, known, &count, &mut most);
    let most = device.clone_dtoh(&most)?;
    let (differences, values) = most.split_at(BLOCKS);
    let largest = |values: &[f32]| values.iter().copied().fold(0.0_f32, f32::max);
    let (difference, value) = (largest(differences), largest(values));
    Ok((value > 0.0 && value.is_finite()).then_some(difference / value))
}
