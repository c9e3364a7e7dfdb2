//! The recording of a stream's work as a CUDA graph.

use candle_core::cuda_backend::cudarc::driver::{CudaGraph, CudaStream, DriverError, sys};
use candle_core::{CudaDevice, Error, Result};
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::{Arc, Once};
use sys::CUgraphNodeType as Node;

thread_local! {
    static CAPTURING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread records a pass.
pub(crate) fn is_recording() -> bool {
    CAPTURING.get()
}

/// Why a pass is not repeated from a recording.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An error of the driver, or of an operation.
    Failed(String),
    /// The graph would read or write memory of the host.
    Host,
    /// The graph would leave memory to others.
    Kept,
    /// The graph has nodes of other kinds.
    Nodes(Node),
    /// The graph gave other numbers than the pass.
    OtherNumbers,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Host => write!(f, "it copies from or to the host"),
            Self::Kept => write!(f, "it keeps memory"),
            Self::Nodes(node) => write!(f, "it contains {node:?}"),
            Self::OtherNumbers => write!(f, "it gave other numbers"),
        }
    }
}

impl Refusal {
    pub(super) fn report(&self, pass: &str) {
        static ONCE: Once = Once::new();
        if matches!(self, Self::OtherNumbers) {
            ONCE.call_once(|| {
                tracing::warn!("a CUDA graph of {pass} gave other numbers than the pass, and is not used");
            });
        }
        tracing::debug!("no CUDA graph of {pass}: {self}");
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<DriverError> for Refusal {
    fn from(error: DriverError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The work that `compute` puts on the device's stream as a graph, with the number of its nodes. None of
/// it runs.
pub(super) fn captured(
    device: &CudaDevice,
    compute: impl FnOnce() -> Result<()>,
) -> std::result::Result<(CudaGraph, usize), Refusal> {
    let stream = device.cuda_stream();
    // Other threads may use streams of their own meanwhile.
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    CAPTURING.set(true);
    let computed = catch_unwind(AssertUnwindSafe(compute));
    CAPTURING.set(false);
    let graph = end(&stream);
    match computed {
        Ok(computed) => computed?,
        Err(_) => return Err(Refusal::Failed("a library lacks a function".into())),
    }
    let graph = graph?.ok_or_else(|| Refusal::Failed("the driver recorded nothing".into()))?;
    let nodes = inspected(&graph)?;
    graph.upload()?;
    Ok((graph, nodes))
}

fn end(stream: &Arc<CudaStream>) -> std::result::Result<Option<CudaGraph>, DriverError> {
    // Errors of tensors that were dropped on the way would otherwise be those of a later call.
    let _ = stream.context().check_err();
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
    let _ = stream.context().check_err();
    graph
}

/// The number of the nodes of `graph`, if they can run again and again.
fn inspected(graph: &CudaGraph) -> std::result::Result<usize, Refusal> {
    let (mut kept, nodes) = (0, nodes(graph)?);
    for &node in &nodes {
        match kind(node)? {
            Node::CU_GRAPH_NODE_TYPE_KERNEL
            | Node::CU_GRAPH_NODE_TYPE_MEMSET
            | Node::CU_GRAPH_NODE_TYPE_EMPTY => {}
            Node::CU_GRAPH_NODE_TYPE_MEMCPY if stays_on_device(node)? => {}
            Node::CU_GRAPH_NODE_TYPE_MEMCPY => return Err(Refusal::Host),
            Node::CU_GRAPH_NODE_TYPE_MEM_ALLOC => kept += 1,
            Node::CU_GRAPH_NODE_TYPE_MEM_FREE => kept -= 1,
            other => return Err(Refusal::Nodes(other)),
        }
    }
    if kept == 0 { Ok(nodes.len()) } else { Err(Refusal::Kept) }
}

fn nodes(graph: &CudaGraph) -> std::result::Result<Vec<sys::CUgraphNode>, DriverError> {
    let mut count = 0;
    // SAFETY: the graph exists. Without room for nodes the driver writes their number alone, and then as
    // many as there is room for.
    unsafe {
        sys::cuGraphGetNodes(graph.cu_graph(), null_mut(), &raw mut count).result()?;
        let mut nodes = vec![null_mut(); count];
        sys::cuGraphGetNodes(graph.cu_graph(), nodes.as_mut_ptr(), &raw mut count).result()?;
        nodes.truncate(count);
        Ok(nodes)
    }
}

fn kind(node: sys::CUgraphNode) -> std::result::Result<Node, DriverError> {
    let mut kind = Node::CU_GRAPH_NODE_TYPE_EMPTY;
    // SAFETY: the node belongs to a graph that exists.
    unsafe { sys::cuGraphNodeGetType(node, &raw mut kind) }.result()?;
    Ok(kind)
}

/// Whether a copy reads and writes memory of the device.
fn stays_on_device(node: sys::CUgraphNode) -> std::result::Result<bool, DriverError> {
    let mut copy = MaybeUninit::<sys::CUDA_MEMCPY3D>::zeroed();
    // SAFETY: the node is a copy of a graph that exists. The driver writes all that is read.
    let (from, to) = unsafe {
        sys::cuGraphMemcpyNodeGetParams(node, copy.as_mut_ptr()).result()?;
        let copy = copy.as_ptr();
        (
            (&raw const (*copy).srcMemoryType).cast::<u32>().read(),
            (&raw const (*copy).dstMemoryType).cast::<u32>().read(),
        )
    };
    let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32;
    Ok([from, to] == [device; 2])
}
