//! The plan for a product of a convolution: cuDNN's algorithms for it, best first, and the failures
//! so far.

use super::alternatives;
use super::cudnn::{Candidate, Descriptors, Reason, Tensors, WORKSPACE, failed, measured, predicted, reason};
use super::key::Key;
use super::record::ConvolutionRecord;
use super::warning::warn_once;
use crate::arithmetic::{ConvolutionChoice, Factors};
use crate::cuda::element::Element;
use crate::cuda::memory::room;
use crate::cuda::recordings::{is_recording, moved};
use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::result;
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, Error, Result, bail};
use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Once;

/// How a product is computed: by the candidate in front.
pub(super) struct Plan {
    key: Key,
    descriptors: Descriptors,
    candidates: VecDeque<Candidate>,
    /// The candidates that failed, and why.
    dismissed: Vec<String>,
    /// The number of plans before this one.
    number: usize,
}

/// A thread's state for a device: cuDNN's handle, which threads must not share, and memory for all
/// convolutions, which run one after the other.
pub(super) struct Library {
    handle: sys::cudnnHandle_t,
    workspace: Option<CudaSlice<u8>>,
}

/// The outcome of an attempt to compute.
pub(super) enum Attempt {
    Done,
    /// The next candidate may work.
    Failed,
    NothingLeft,
}

type Known = (Library, HashMap<Key, Plan>);

thread_local! {
    static LIBRARIES: RefCell<HashMap<DeviceId, Known>> = RefCell::new(HashMap::new());
}

/// Calls `work` with the plan for `key`. Measuring algorithms first overwrites the computed tensor.
pub(super) fn with_plan<T: Element, R>(
    device: &CudaDevice,
    key: &Key,
    tensors: Tensors,
    work: impl FnOnce(&mut Plan, &mut Library) -> Result<R>,
) -> Result<R> {
    LIBRARIES.with_borrow_mut(|libraries| {
        let (library, plans) = match libraries.entry(device.id()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert((Library::new(device)?, HashMap::new())),
        };
        let number = plans.len();
        let plan = match plans.entry(*key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_recording() => bail!("a recording does not begin with a convolution"),
            Entry::Vacant(new) => new.insert(Plan::new::<T>(library.handle, device, key, tensors, number)?),
        };
        work(plan, library)
    })
}

/// This thread's handle of cuDNN for `device`, once it has computed a convolution there.
pub(super) fn handle(device: &CudaDevice) -> Option<sys::cudnnHandle_t> {
    LIBRARIES.with_borrow(|libraries| Some(libraries.get(&device.id())?.0.handle))
}

/// The time that cuDNN measured for `key`.
pub(super) fn milliseconds(device: &CudaDevice, key: &Key) -> Option<f32> {
    LIBRARIES
        .with_borrow(|libraries| libraries.get(&device.id())?.1.get(key)?.candidates.front()?.milliseconds)
}

/// How `key` is computed.
pub(super) fn record(device: &CudaDevice, key: &Key) -> Option<ConvolutionRecord> {
    LIBRARIES.with_borrow(|libraries| Some(libraries.get(&device.id())?.1.get(key)?.record(device.id())))
}

impl Library {
    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let handle = result::create_handle().map_err(failed)?;
        // SAFETY: both were just made, and the stream lives as long as the device.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed)?;
        Ok(Self { handle, workspace: None })
    }

    /// Makes the workspace at least `bytes` large.
    fn reserve(&mut self, device: &CudaDevice, bytes: usize) -> std::result::Result<(), Reason> {
        if self.workspace.as_ref().map_or(0, CudaSlice::len) < bytes {
            // Work that uses the old one comes first on the stream, but recordings would still use it.
            if self.workspace.is_some() {
                moved();
            }
            let memory = room::<u8>(device, bytes);
            self.workspace = Some(memory.map_err(|_| format!("there is no memory for its {bytes} bytes"))?);
        }
        Ok(())
    }
}

impl Key {
    /// The arithmetic that cuDNN may use.
    pub(super) fn math(&self) -> sys::cudnnMathType_t {
        match (self.elements, self.arithmetic.factors) {
            ("f32", Factors::F32) => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            ("f32", Factors::Tf32) => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
            _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        }
    }

    /// Whether factors must not be rounded, which allows the requested arithmetic only.
    fn exact(&self) -> bool {
        self.math() == sys::cudnnMathType_t::CUDNN_FMA_MATH
    }

    /// The rank of a candidate, the best first. `None` if it must not be used.
    fn rank(&self, candidate: &Candidate) -> Option<(bool, bool)> {
        let converts = candidate.math == sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION;
        // f32 would become f16.
        let allowed = !(converts && self.elements == "f32");
        allowed.then_some((!candidate.repeatable, self.exact() && candidate.math != self.math()))
    }
}

/// Warns that cuDNN cannot compute a convolution.
fn nothing_left(reason: &str) {
    static ONCE: Once = Once::new();
    let text = format_args!(
        "cuDNN cannot compute a convolution on the GPU; patches and a matrix product do, slowly ({reason})"
    );
    warn_once(&ONCE, text);
}

impl Plan {
    fn new<T: Element>(
        handle: sys::cudnnHandle_t,
        device: &CudaDevice,
        key: &Key,
        tensors: Tensors,
        number: usize,
    ) -> Result<Self> {
        let descriptors = Descriptors::new::<T>(key)?;
        let mut dismissed = Vec::new();
        let mut listed = Vec::new();
        if key.arithmetic.choice == ConvolutionChoice::Measured {
            let stream = device.cuda_stream();
            match room::<u8>(device, WORKSPACE) {
                Ok(scratch) => {
                    let (pointer, _scratch) = scratch.device_ptr(&stream);
                    let found = measured(handle, key.product, descriptors, tensors, pointer as *mut c_void);
                    listed = found.unwrap_or_else(|error| {
                        dismissed.push(format!("measuring: {}", reason(error)));
                        Vec::new()
                    });
                }
                Err(_) => dismissed.push(format!("measuring: there is no memory for {WORKSPACE} bytes")),
            }
        }
        if listed.is_empty() {
            listed = predicted(handle, key.product, descriptors).unwrap_or_else(|error| {
                dismissed.push(format!("asking: {}", reason(error)));
                Vec::new()
            });
        }
        listed.retain(|candidate| key.rank(candidate).is_some());
        listed.sort_by_key(|candidate| key.rank(candidate));
        if listed.is_empty() {
            nothing_left(dismissed.last().map_or("it names no algorithm", String::as_str));
        }
        Ok(Self { key: *key, descriptors, candidates: listed.into(), dismissed, number })
    }

    /// Computes by the candidate in front, or dismisses it. With `added`, the result is added to
    /// the output.
    pub(super) fn attempt(
        &mut self,
        library: &mut Library,
        device: &CudaDevice,
        tensors: Tensors,
        added: bool,
    ) -> Attempt {
        static NEXT: Once = Once::new();
        let Some(candidate) = self.candidates.front().copied() else {
            return Attempt::NothingLeft;
        };
        match self.run(library, device, candidate, tensors, added) {
            Ok(()) => Attempt::Done,
            Err(error) => {
                self.candidates.pop_front();
                let reason = format!("{}: {error}", candidate.algorithm.name());
                match self.candidates.front() {
                    Some(next) => warn_once(
                        &NEXT,
                        format_args!(
                            "a convolution on the GPU is computed by {} instead of {reason}",
                            next.algorithm.name()
                        ),
                    ),
                    None => nothing_left(&reason),
                }
                self.dismissed.push(reason);
                Attempt::Failed
            }
        }
    }

    fn run(
        &mut self,
        library: &mut Library,
        device: &CudaDevice,
        candidate: Candidate,
        tensors: Tensors,
        added: bool,
    ) -> std::result::Result<(), Reason> {
        let is_new = candidate.workspace.is_none();
        if is_new {
            // If factors must not be rounded, the requested arithmetic stays.
            let math = (!self.key.exact()).then_some(candidate.math);
            let bytes = self.descriptors.workspace(library.handle, candidate.algorithm, math)?;
            library.reserve(device, bytes)?;
            self.candidates[0].workspace = Some(bytes);
        }
        let (handle, stream) = (library.handle, device.cuda_stream());
        let size = library.workspace.as_ref().map_or(0, CudaSlice::len);
        let workspace = library.workspace.as_mut().map(|workspace| workspace.device_ptr_mut(&stream));
        let memory = workspace.as_ref().map_or(null_mut(), |(pointer, _)| *pointer as *mut c_void);
        self.descriptors.launch(handle, candidate.algorithm, (memory, size), tensors, added)?;
        drop(workspace);
        if is_new {
            self.report(device.id(), candidate);
        }
        Ok(())
    }

    /// Reports the choice.
    fn report(&self, device: DeviceId, candidate: Candidate) {
        static NOT_REPEATABLE: Once = Once::new();
        if !candidate.repeatable {
            warn_once(
                &NOT_REPEATABLE,
                format_args!(
                    "cuDNN has no repeatable algorithm for a convolution: a run that is done again may have other last bits"
                ),
            );
        }
        tracing::debug!("{:?}", self.record(device));
    }

    fn record(&self, device: DeviceId) -> ConvolutionRecord {
        let g = &self.key.geometry;
        let chosen = self.candidates.front();
        let math = if self.key.exact() { Some(self.key.math()) } else { chosen.map(|chosen| chosen.math) };
        let mut record = ConvolutionRecord {
            product: self.key.product.name(),
            elements: self.key.elements,
            batch: g.batch,
            input: g.input,
            output: g.output,
            kernel: g.kernel,
            stride: g.stride,
            padding: g.padding,
            dilation: g.dilation,
            algorithm: chosen.map_or_else(|| "patches".into(), |chosen| chosen.algorithm.name()),
            math: chosen.and(math).map(|math| format!("{math:?}")),
            repeatable: chosen.is_none_or(|chosen| chosen.repeatable),
            workspace: chosen.and_then(|chosen| chosen.workspace).unwrap_or(0),
            milliseconds: chosen.and_then(|chosen| chosen.milliseconds),
            dismissed: self.dismissed.clone(),
            instead_of: None,
            replaced_milliseconds: None,
            folded_norm: None,
        };
        alternatives::complete(device, &self.key, &mut record);
        record
    }
}

/// The convolutions that this thread has computed on GPUs, in the order of their first computation.
pub fn convolution_records() -> Vec<ConvolutionRecord> {
    LIBRARIES.with_borrow(|libraries| {
        let plans =
            libraries.iter().flat_map(|(device, (_, plans))| plans.values().map(move |plan| (*device, plan)));
        let mut plans: Vec<(DeviceId, &Plan)> = plans.collect();
        plans.sort_by_key(|(_, plan)| plan.number);
        plans.into_iter().map(|(device, plan)| plan.record(device)).collect()
    })
}
