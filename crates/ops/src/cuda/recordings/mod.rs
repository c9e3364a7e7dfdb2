//! Passes repeated from CUDA graphs.
//!
//! Two passes of a kind are computed, in which kernels are loaded, ways to convolve are chosen and caches
//! filled. The third is computed, recorded and run from the recording. The recording is kept if all
//! results have the same bits. Whatever goes wrong, the pass is computed as before. So it is while several
//! threads use GPUs, because a stream records the work of all.
//!
//! A graph reads and writes fixed addresses. Inputs and results have tensors of their own for that. What
//! else the pass reads has to stay in place: [`moved`] makes all recordings void.

mod capture;
mod record;

pub(crate) use capture::is_recording;
pub use record::{RecordingRecord, recording_records};

use super::pool::{self, Keeper};
use super::{convolution, users, without};
use crate::copies::copies;
use crate::recordings::Pass;
use crate::rounded_copy::overwrite;
use candle_core::cuda_backend::cudarc::driver::CudaGraph;
use candle_core::{CudaDevice, DType, Device, Error, Result, Tensor, Var};
use capture::{Refusal, captured};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Passes before the one that is recorded.
const BEFORE: usize = 2;
/// The same while there are trials of ways to convolve without a decision.
const AT_MOST: usize = BEFORE + convolution::PATIENCE;
/// Kinds of passes that a thread remembers. Those of which the last pass is longest ago are forgotten.
const MOST: usize = 48;

static MOVED: AtomicU64 = AtomicU64::new(0);

/// Makes all recordings void, because memory that they may read has been freed, or copies in it are old.
pub(crate) fn moved() {
    MOVED.fetch_add(1, Ordering::Relaxed);
}

/// A kind of pass.
struct Kind {
    owner: Weak<()>,
    name: String,
    /// Shapes and types of the inputs.
    inputs: Signature,
    state: State,
}

impl Kind {
    fn is_recorded(&self) -> bool {
        matches!(self.state, State::Recorded(_))
    }
}

type Signature = Vec<(Vec<usize>, DType)>;

enum State {
    /// So many passes were computed.
    Computed(usize),
    /// Recordings do not work.
    Refused(String),
    Recorded(Recording),
}

struct Recording {
    device: CudaDevice,
    graph: CudaGraph,
    nodes: usize,
    tensors: Rc<Tensors>,
    /// The value of [`MOVED`] when it was made.
    moved: u64,
}

/// The tensors that a graph reads and writes. Graphs with the same shapes share them.
struct Tensors {
    inputs: Vec<Var>,
    outputs: Vec<Var>,
}

thread_local! {
    /// The latest last.
    static KINDS: RefCell<Vec<Kind>> = const { RefCell::new(Vec::new()) };
}

/// The GPU of a pass, if it may be recorded.
pub(crate) fn device_of<'a>(pass: &Pass<'a>) -> Option<&'a CudaDevice> {
    match pass.inputs.first()?.device() {
        Device::Cuda(device) if !is_recording() && without::allowed("cuda_graphs") => Some(device),
        _ => None,
    }
}

/// The results of `compute`, or of its recording.
pub(crate) fn run(
    owner: &Arc<()>,
    device: &CudaDevice,
    pass: &Pass<'_>,
    compute: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    // While the pass is computed, others may be inside it.
    let mut kind = take(owner, pass);
    let moved = MOVED.load(Ordering::Relaxed);
    if matches!(&kind.state, State::Recorded(recording) if recording.moved != moved) {
        kind.state = State::Computed(0);
    }
    let inputs = pass.detached();
    let found = match &kind.state {
        State::Recorded(recording) => match recording.start(&inputs) {
            Ok(()) => recording.results(),
            // There may be no memory left for its tensors.
            Err(error) => {
                kind.state = State::Refused(error.to_string());
                record::note(&kind);
                compute(&inputs)
            }
        },
        State::Refused(_) => compute(&inputs),
        State::Computed(count) if *count < BEFORE || (*count < AT_MOST && convolution::is_undecided()) => {
            if KINDS.with_borrow(|kinds| kinds.iter().any(Kind::is_recorded)) {
                pool::give_back(device, Keeper::Graphs)?;
            }
            let found = compute(&inputs);
            kind.state = State::Computed(count + 1);
            found
        }
        State::Computed(_) => record(device, pass, &inputs, compute, moved).map(|(found, state)| {
            kind.state = state;
            record::note(&kind);
            found
        }),
    };
    put(kind);
    found
}

/// The kind of `pass`, taken from those that are known.
fn take(owner: &Arc<()>, pass: &Pass<'_>) -> Kind {
    let inputs: Signature = pass.inputs.iter().map(|input| (input.dims().to_vec(), input.dtype())).collect();
    let found = KINDS.with_borrow_mut(|kinds| {
        let owner = Arc::downgrade(owner);
        let same = |kind: &Kind| kind.owner.ptr_eq(&owner) && kind.name == pass.name && kind.inputs == inputs;
        kinds.iter().position(same).map(|place| kinds.remove(place))
    });
    found.unwrap_or_else(|| Kind {
        owner: Arc::downgrade(owner),
        name: pass.name.to_owned(),
        inputs,
        state: State::Computed(0),
    })
}

fn put(kind: Kind) {
    KINDS.with_borrow_mut(|kinds| {
        kinds.retain(|kind| kind.owner.strong_count() > 0);
        if kinds.len() == MOST {
            kinds.remove(0);
        }
        kinds.push(kind);
    });
}

/// Computes a pass, and its recording. Returns the results, and what there is to know about recordings.
fn record(
    device: &CudaDevice,
    pass: &Pass<'_>,
    inputs: &[Tensor],
    compute: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    moved: u64,
) -> Result<(Vec<Tensor>, State)> {
    let before = values_of(pass.overwritten)?;
    let found = compute(inputs)?;
    // A cache that was filled just now is one that the recording would read.
    if MOVED.load(Ordering::Relaxed) != moved {
        return Ok((found, State::Computed(0)));
    }
    // Another thread may compute on a GPU.
    let tried = users::alone(|| attempt(device, pass, inputs, compute, (&before, &found), moved));
    let state = match tried {
        None => State::Computed(BEFORE),
        Some(Ok(recording)) => State::Recorded(recording),
        Some(Err(refusal)) => {
            refusal.report(pass.name);
            State::Refused(refusal.to_string())
        }
    };
    Ok((found, state))
}

/// A recording that has given the results `expected`, given the values of overwritten variables before
/// the pass. They have the values after the pass when this function ends.
fn attempt(
    device: &CudaDevice,
    pass: &Pass<'_>,
    inputs: &[Tensor],
    compute: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    (before, expected): (&[Tensor], &[Tensor]),
    moved: u64,
) -> std::result::Result<Recording, Refusal> {
    let tensors = tensors(inputs, expected)?;
    pool::give_back(device, Keeper::Pool)?;
    let detached: Vec<Tensor> = tensors.inputs.iter().map(Var::as_detached_tensor).collect();
    let (graph, nodes) = captured(device, || {
        let outputs = compute(&detached)?;
        for (to, from) in tensors.outputs.iter().zip(&outputs) {
            overwrite(to, &from.detach().contiguous()?)?;
        }
        Ok(())
    })?;
    let recording = Recording { device: device.clone(), graph, nodes, tensors, moved };
    let after = values_of(pass.overwritten)?;
    put_back(pass.overwritten, before)?;
    let results = recording.start(inputs).and_then(|()| recording.results());
    let found = results.and_then(|found| Ok((found, values_of(pass.overwritten)?)));
    put_back(pass.overwritten, &after)?;
    let (found, changed) = found?;
    let pairs = expected.iter().zip(&found).chain(after.iter().zip(&changed));
    for (expected, found) in pairs {
        if bits(expected)? != bits(found)? {
            return Err(Refusal::OtherNumbers);
        }
    }
    Ok(recording)
}

fn put_back(variables: &[Var], values: &[Tensor]) -> Result<()> {
    variables.iter().zip(values).try_for_each(|(variable, value)| overwrite(variable, value))
}

fn values_of(variables: &[Var]) -> Result<Vec<Tensor>> {
    copies(&variables.iter().map(Var::as_tensor).collect::<Vec<_>>())
}

/// Tensors for a graph of these inputs and results, those of another graph if there is one.
fn tensors(inputs: &[Tensor], outputs: &[Tensor]) -> Result<Rc<Tensors>> {
    let fits = |known: &[Var], tensors: &[Tensor]| {
        let same = |(known, tensor): (&Var, &Tensor)| {
            known.dims() == tensor.dims()
                && known.dtype() == tensor.dtype()
                && known.device().same_device(tensor.device())
        };
        known.len() == tensors.len() && known.iter().zip(tensors).all(same)
    };
    let known = KINDS.with_borrow(|kinds| {
        kinds.iter().find_map(|kind| match &kind.state {
            State::Recorded(Recording { tensors, .. })
                if fits(&tensors.inputs, inputs) && fits(&tensors.outputs, outputs) =>
            {
                Some(Rc::clone(tensors))
            }
            _ => None,
        })
    });
    let new = |like: &[Tensor]| like.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>();
    match known {
        Some(known) => Ok(known),
        None => Ok(Rc::new(Tensors { inputs: new(inputs)?, outputs: new(outputs)? })),
    }
}

/// The bytes of a tensor's elements.
fn bits(tensor: &Tensor) -> Result<Vec<u64>> {
    let tensor = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F64 => tensor.to_vec1::<f64>()?.into_iter().map(f64::to_bits).collect(),
        DType::U8 => tensor.to_vec1::<u8>()?.into_iter().map(u64::from).collect(),
        DType::U32 => tensor.to_vec1::<u32>()?.into_iter().map(u64::from).collect(),
        _ => {
            let values = tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            values.into_iter().map(|value| u64::from(value.to_bits())).collect()
        }
    })
}

impl Recording {
    /// Starts the graph with these inputs.
    fn start(&self, inputs: &[Tensor]) -> Result<()> {
        for (to, from) in self.tensors.inputs.iter().zip(inputs) {
            overwrite(to, from)?;
        }
        self.graph.launch().map_err(Error::wrap)?;
        pool::graph_runs(&self.device);
        Ok(())
    }

    /// Copies of the results, which the next start overwrites.
    fn results(&self) -> Result<Vec<Tensor>> {
        self.tensors.outputs.iter().map(|output| output.as_detached_tensor().copy()).collect()
    }
}
