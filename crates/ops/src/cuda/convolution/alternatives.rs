//! Convolutions by other ways than cuDNN's older interface, which computes each product the first
//! time and says what is right.

use super::super::without;
use super::cudnn::Reason;
use super::epilogue::Epilogue;
use super::key::Key;
use super::record::ConvolutionRecord;
use super::trial::{Known, Outcome, trial};
use super::warning::warn_once;
use super::way::{Offer, Operands, Way};
use super::{graph, plan, products};
use crate::cuda::element::Element;
use crate::cuda::memory::{room, stored};
use crate::cuda::recordings::{is_recording, moved};
use crate::operation::{GpuInputs, Input};
use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, CudaStorage, DType, Result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::Once;

/// A product, and what happens to it before it is written.
type Case = (DeviceId, Key, Option<Epilogue>);

/// What is known about the ways to compute a product.
#[derive(Default)]
struct Chosen {
    /// The way that is taken, if any.
    way: Option<Box<dyn Way>>,
    milliseconds: Option<f32>,
    /// The ways that were dismissed, and why.
    dismissed: Vec<String>,
}

#[derive(Default)]
struct All {
    chosen: HashMap<Case, Chosen>,
    /// Trials without a decision.
    undecided: HashMap<Case, usize>,
    /// Memory for all ways, which run one after the other.
    memory: HashMap<DeviceId, CudaSlice<u8>>,
}

/// Trials after which a product without a decision is computed as before.
pub(in crate::cuda) const PATIENCE: usize = 4;

thread_local! {
    static ALL: RefCell<All> = RefCell::default();
}

/// The product by the chosen way, if there is one.
pub(super) fn compute<T: Element>(
    device: &CudaDevice,
    key: &Key,
    inputs: GpuInputs<'_, 2>,
    epilogue: Option<Epilogue<Input<'_, CudaStorage>>>,
) -> Result<Option<CudaStorage>> {
    static FAILED: Once = Once::new();
    ALL.with_borrow_mut(|All { chosen, memory, .. }| {
        let case = (device.id(), *key, epilogue.as_ref().map(Epilogue::kind));
        let Some(chosen) = chosen.get_mut(&case) else { return Ok(None) };
        let Some(way) = &chosen.way else { return Ok(None) };
        let stream = device.cuda_stream();
        let mut out = room::<T>(device, key.product.size(&key.geometry))?;
        let Ok(mut place) = reserve(memory, device, way.workspace()) else { return Ok(None) };
        let started = with_addresses::<T, _>(device, inputs, epilogue, |factors, epilogue| {
            let (result, _out) = out.device_ptr_mut(&stream);
            let place = place.as_mut().map(|place| place.device_ptr_mut(&stream));
            let place = place.as_ref().map_or(null_mut(), |(place, _)| *place as *mut c_void);
            let operands = Operands { factors, epilogue, result: result as *mut c_void };
            Ok(operands.are_aligned().then(|| way.start(&stream, operands, place)))
        })?;
        Ok(match started {
            None => None,
            Some(Ok(())) => Some(stored(out, device)),
            Some(Err(reason)) => {
                let reason = format!("{}: {reason}", way.name());
                warn_once(
                    &FAILED,
                    format_args!("a convolution on the GPU is computed as before again ({reason})"),
                );
                chosen.dismissed.push(reason);
                chosen.way = None;
                None
            }
        })
    })
}

/// Calls `work` with the addresses of the factors and of the epilogue's operand.
fn with_addresses<T: Element, R>(
    device: &CudaDevice,
    [first, second]: GpuInputs<'_, 2>,
    epilogue: Option<Epilogue<Input<'_, CudaStorage>>>,
    work: impl FnOnce([*mut c_void; 2], Option<Epilogue<*mut c_void>>) -> Result<R>,
) -> Result<R> {
    let stream = device.cuda_stream();
    let beside = epilogue.as_ref().map(|epilogue| epilogue.operand().view::<T>()).transpose()?;
    let [first, second] = [first.view::<T>()?, second.view::<T>()?];
    let [(first, _first), (second, _second)] = [&first, &second].map(|view| view.device_ptr(&stream));
    let beside = beside.as_ref().map(|beside| beside.device_ptr(&stream));
    let address = beside.as_ref().map_or(0, |(address, _)| *address);
    let epilogue = epilogue.map(|epilogue| epilogue.map(|_| address as *mut c_void));
    work([first, second].map(|address| address as *mut c_void), epilogue)
}

/// Memory of at least `bytes` on `device`, if that is more than none.
fn reserve<'a>(
    memory: &'a mut HashMap<DeviceId, CudaSlice<u8>>,
    device: &CudaDevice,
    bytes: usize,
) -> Result<Option<&'a mut CudaSlice<u8>>> {
    if bytes == 0 {
        return Ok(None);
    }
    if memory.get(&device.id()).is_none_or(|known| known.len() < bytes) {
        // Work that uses the old memory comes first on the stream, but recordings would still use it.
        if memory.remove(&device.id()).is_some() {
            moved();
        }
        memory.insert(device.id(), room(device, bytes)?);
    }
    Ok(memory.get_mut(&device.id()))
}

/// Whether there are products for which this thread still looks for a way.
pub(in crate::cuda) fn is_undecided() -> bool {
    ALL.with_borrow(|all| {
        let open = |(case, trials): (&Case, &usize)| *trials < PATIENCE && !all.chosen.contains_key(case);
        all.undecided.iter().any(open)
    })
}

/// Looks for a way to compute a product, given its `result`, if none was looked for yet. Nothing that
/// goes wrong matters: the product is then computed as before.
pub(super) fn consider<T: Element>(
    device: &CudaDevice,
    key: &Key,
    inputs: GpuInputs<'_, 2>,
    epilogue: Option<Epilogue<Input<'_, CudaStorage>>>,
    result: &CudaStorage,
) {
    let case = (device.id(), *key, epilogue.as_ref().map(Epilogue::kind));
    // A trial waits for the device, which a recording cannot do.
    if is_recording() || ALL.with_borrow(|all| all.chosen.contains_key(&case)) {
        return;
    }
    let mut dismissed = Vec::new();
    let found = catch_unwind(AssertUnwindSafe(|| {
        with_addresses::<T, _>(device, inputs, epilogue, |factors, epilogue| {
            let offers = offers::<T>(device, key, epilogue, &mut dismissed);
            if offers.is_empty() {
                return Ok(Outcome::Nothing);
            }
            let milliseconds = match epilogue {
                Some(Epilogue::BiasRelu(_)) => plain_milliseconds(device, key),
                _ => plan::milliseconds(device, key),
            };
            let known = Known { result: result.as_cuda_slice::<T>()?, milliseconds };
            trial(device, key, (factors, epilogue), &known, offers, &mut dismissed)
        })
    }));
    let (way, milliseconds) = match found {
        Ok(Ok(Outcome::Found(way, milliseconds))) => (Some(way), milliseconds),
        Ok(Ok(Outcome::Nothing)) => (None, None),
        Ok(Ok(Outcome::Undecided)) => {
            let trials = ALL.with_borrow_mut(|all| {
                let trials = all.undecided.entry(case).or_default();
                *trials += 1;
                *trials
            });
            if trials < PATIENCE {
                return;
            }
            dismissed.push("the known results were zeros or not finite".into());
            (None, None)
        }
        Ok(Err(error)) => {
            dismissed.push(error.to_string());
            (None, None)
        }
        Err(_) => {
            dismissed.push("a library lacks a function".into());
            (None, None)
        }
    };
    let chosen = Chosen { way, milliseconds, dismissed };
    ALL.with_borrow_mut(|all| all.chosen.insert(case, chosen));
    if let Some(record) = plan::record(device, key) {
        tracing::debug!("{record:?}");
    }
}

/// The measured time of the product alone, in the way that is taken.
fn plain_milliseconds(device: &CudaDevice, key: &Key) -> Option<f32> {
    let chosen = ALL.with_borrow(|all| all.chosen.get(&(device.id(), *key, None))?.milliseconds);
    chosen.or_else(|| plan::milliseconds(device, key))
}

/// All ways that may compute `key`.
fn offers<T: Element>(
    device: &CudaDevice,
    key: &Key,
    epilogue: Option<Epilogue<*mut c_void>>,
    dismissed: &mut Vec<String>,
) -> Vec<Offer> {
    let mut all = Vec::new();
    let mut take = |source: &str, offers: std::result::Result<Vec<Offer>, Reason>| match offers {
        Ok(offers) if offers.is_empty() => dismissed.push(format!("{source} offers nothing")),
        Ok(offers) => all.extend(offers),
        Err(reason) => dismissed.push(format!("{source}: {reason}")),
    };
    if key.geometry.is_pointwise() && without::allowed("cublaslt") {
        take("cublasLt", products::offers::<T>(key, epilogue));
    }
    // Its kernels for f32 round the factors.
    let graph = T::TYPE == DType::BF16 && without::allowed("graph");
    if let Some(handle) = plan::handle(device).filter(|_| graph) {
        let epilogue = epilogue.as_ref().map(Epilogue::kind);
        take("cuDNN's graph interface", graph::offers::<T>(device, handle, key, epilogue));
    }
    all
}

/// Writes the way that is taken for `key` to `record`.
pub(super) fn complete(device: DeviceId, key: &Key, record: &mut ConvolutionRecord) {
    ALL.with_borrow(|all| {
        for epilogue in [Some(Epilogue::Add(())), None] {
            let Some(chosen) = all.chosen.get(&(device, *key, epilogue)) else { continue };
            record.dismissed.extend(chosen.dismissed.iter().cloned());
            if let Some(way) = &chosen.way {
                let former = std::mem::replace(&mut record.algorithm, way.name());
                if record.instead_of.is_none() {
                    (record.instead_of, record.replaced_milliseconds) = (Some(former), record.milliseconds);
                }
                record.milliseconds = chosen.milliseconds;
                (record.workspace, record.repeatable) = (way.workspace(), true);
            }
        }
        let folded = (device, *key, Some(Epilogue::BiasRelu(())));
        let (chosen, separate) = (all.chosen.get(&folded), || "separate pass".to_owned());
        record.dismissed.extend(chosen.iter().flat_map(|chosen| chosen.dismissed.iter().cloned()));
        record.folded_norm = match chosen {
            Some(chosen) => Some(chosen.way.as_ref().map_or_else(separate, |way| way.name())),
            None => all.undecided.contains_key(&folded).then(separate),
        };
    });
}
