//! Convolutions by cuDNN's graph interface, which offers each kernel with its settings. The older
//! interface reaches the same kernels, but names families of them alone and tunes none.

use super::cudnn::{Reason, WORKSPACE, reason};
use super::descriptor::Descriptor;
use super::key::{Key, Product};
use super::way::{ALIGNMENT, Offer, Operands, Way};
use crate::cuda::element::{Element, stamped};
use crate::cuda::launch::{launch, per_element};
use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use std::ffi::c_void;
use std::rc::Rc;
use sys::cudnnBackendAttributeName_t as Name;
use sys::cudnnBackendAttributeType_t as Type;
use sys::cudnnBackendDescriptorType_t as Kind;
use sys::cudnnBackendNumericalNote_t as Note;

/// Kernels that are considered.
const MOST: usize = 12;

/// Names of a convolution's tensors in its graph.
const INPUT: i64 = 1;
const WEIGHT: i64 = 2;
const OUTPUT: i64 = 3;

/// A product as a graph of one operation. The descriptors that it refers to live as long.
struct Graph {
    device: CudaDevice,
    /// The kernel that adds a tensor to the result, and the number of its threads.
    addition: (String, usize),
    whole: Descriptor,
    _parts: [Descriptor; 5],
    handle: sys::cudnnHandle_t,
    product: Product,
}

/// A tensor of `extents` (N, C, H, W), channels last in memory.
fn tensor<T: Element>(name: i64, extents: [usize; 4]) -> Result<Descriptor, Reason> {
    let [count, channels, height, width] = extents.map(|extent| extent as i64);
    let strides = [height * width * channels, 1, width * channels, channels];
    let tensor = Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, Type::CUDNN_TYPE_INT64, &[name])?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[T::DATA_TYPE])?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, Type::CUDNN_TYPE_INT64, &[ALIGNMENT as i64])?;
    let extents = [count, channels, height, width];
    tensor.set(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, Type::CUDNN_TYPE_INT64, &extents)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_STRIDES, Type::CUDNN_TYPE_INT64, &strides)?;
    tensor.finish()
}

/// Padding, stride and dilation, and the type of sums.
fn convolution(key: &Key) -> Result<Descriptor, Reason> {
    let g = &key.geometry;
    let twice = |size: usize| [size as i64; 2];
    let convolution = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?;
    let (sums, mode) =
        (sys::cudnnDataType_t::CUDNN_DATA_FLOAT, sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION);
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[sums])?;
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, Type::CUDNN_TYPE_CONVOLUTION_MODE, &[mode])?;
    for (name, values) in [
        (Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, twice(g.padding)),
        (Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, twice(g.padding)),
        (Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, twice(g.stride)),
        (Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, twice(g.dilation)),
    ] {
        convolution.set(name, Type::CUDNN_TYPE_INT64, &values)?;
    }
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, Type::CUDNN_TYPE_INT64, &[2_i64])?;
    convolution.finish()
}

/// The attributes of an operation: input, weight, output, how it convolves, and its two factors.
fn attributes(product: Product) -> (Kind, [Name; 6]) {
    match product {
        Product::Output => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            ],
        ),
        Product::InputGradient => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            ],
        ),
        Product::WeightGradient => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
            ],
        ),
    }
}

impl Graph {
    fn new<T: Element>(device: &CudaDevice, handle: sys::cudnnHandle_t, key: &Key) -> Result<Self, Reason> {
        let (g, count) = (&key.geometry, key.product.size(&key.geometry));
        let width = if count.is_multiple_of(T::WIDTH) { T::WIDTH } else { 1 };
        let addition = (stamped::<T>("accumulate", width), count / width);
        let ([height, width, inputs], [out_height, out_width, outputs]) = (g.input, g.output);
        let input = tensor::<T>(INPUT, [g.batch, inputs, height, width])?;
        let weight = tensor::<T>(WEIGHT, [outputs, inputs, g.kernel[0], g.kernel[1]])?;
        let output = tensor::<T>(OUTPUT, [g.batch, outputs, out_height, out_width])?;
        let convolution = convolution(key)?;
        let (kind, [of_input, of_weight, of_output, how, alpha, beta]) = attributes(key.product);
        let operation = Descriptor::new(kind)?;
        operation.link(of_input, &[&input])?;
        operation.link(of_weight, &[&weight])?;
        operation.link(of_output, &[&output])?;
        operation.link(how, &[&convolution])?;
        operation.set(alpha, Type::CUDNN_TYPE_FLOAT, &[1.0_f32])?;
        operation.set(beta, Type::CUDNN_TYPE_FLOAT, &[0.0_f32])?;
        let operation = operation.finish()?;
        let whole = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
        whole.link(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &[&operation])?;
        whole.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, Type::CUDNN_TYPE_HANDLE, &[handle])?;
        let (whole, product, device) = (whole.finish()?, key.product, device.clone());
        let parts = [input, weight, output, convolution, operation];
        Ok(Self { device, addition, whole, _parts: parts, handle, product })
    }

    /// Adds a tensor to the result. It is a pass of its own, because few kernels add while they write.
    fn add(&self, result: *mut c_void, added: *mut c_void) -> candle_core::Result<()> {
        let (name, threads) = &self.addition;
        let blocks = per_element(*threads);
        launch!(&self.device, name, blocks, &(result as u64), &(added as u64), &(*threads as u64));
        Ok(())
    }

    /// The kernels that cuDNN thinks the fastest, best first.
    fn configurations(&self) -> Result<Vec<Descriptor>, Reason> {
        let heuristics = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
        heuristics.link(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&self.whole])?;
        let mode = sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_A;
        heuristics.set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, &[mode])?;
        let heuristics = heuristics.finish()?;
        let (results, of) = (Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR);
        let count = heuristics.get::<sys::cudnnBackendDescriptor_t>(results, of, &mut [])?;
        let found = (0..count.min(MOST)).map(|_| Descriptor::new(Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
        let mut found = found.collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<_> = found.iter().map(Descriptor::pointer).collect();
        let filled = if found.is_empty() { 0 } else { heuristics.get(results, of, &mut pointers)? };
        found.truncate(filled);
        Ok(found)
    }
}

/// A kernel for a graph.
struct Plan {
    whole: Descriptor,
    _configuration: Descriptor,
    graph: Rc<Graph>,
    engine: i64,
    workspace: usize,
}

impl Plan {
    /// The plan of a kernel that loses no precision and whose repetitions give the same bits.
    fn new(graph: Rc<Graph>, configuration: Descriptor) -> Result<Self, Reason> {
        let engine = Descriptor::new(Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?;
        let of = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
        configuration.get(Name::CUDNN_ATTR_ENGINECFG_ENGINE, of, &mut [engine.pointer()])?;
        let mut index = [-1_i64];
        engine.get(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX, Type::CUDNN_TYPE_INT64, &mut index)?;
        // As numbers, because a newer cuDNN may have more notes.
        let mut notes = [u32::MAX; 32];
        let (name, of) = (Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, Type::CUDNN_TYPE_NUMERICAL_NOTE);
        let count = engine.get(name, of, &mut notes)?.min(notes.len());
        for (note, fault) in [
            (Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, "is not repeatable"),
            (Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, "rounds its factors"),
            (Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, "rounds partial sums"),
        ] {
            if notes[..count].contains(&(note as u32)) {
                return Err(format!("engine {} {fault}", index[0]));
            }
        }
        let plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
        plan.set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, Type::CUDNN_TYPE_HANDLE, &[graph.handle])?;
        plan.link(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[&configuration])?;
        let plan = plan.finish().map_err(|reason| format!("engine {}: {reason}", index[0]))?;
        let mut workspace = [0_i64];
        let name = Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE;
        plan.get(name, Type::CUDNN_TYPE_INT64, &mut workspace)?;
        let workspace = workspace[0].max(0) as usize;
        if workspace > WORKSPACE {
            return Err(format!("engine {} needs {workspace} bytes of memory", index[0]));
        }
        Ok(Self { whole: plan, _configuration: configuration, graph, engine: index[0], workspace })
    }
}

impl Way for Plan {
    fn name(&self) -> String {
        format!("cuDNN's graph interface, engine {}", self.engine)
    }

    fn workspace(&self) -> usize {
        self.workspace
    }

    fn start(&self, _: &CudaStream, operands: Operands, memory: *mut c_void) -> Result<(), Reason> {
        let ([first, second], result) = (operands.factors, operands.result);
        let pointers = match self.graph.product {
            Product::Output => [first, second, result],
            Product::InputGradient => [result, first, second],
            Product::WeightGradient => [first, result, second],
        };
        let pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        let names = [INPUT, WEIGHT, OUTPUT];
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, Type::CUDNN_TYPE_INT64, &names)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, Type::CUDNN_TYPE_VOID_PTR, &pointers)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &[memory])?;
        let pack = pack.finish()?;
        // SAFETY: the tensors have the sizes of the graph, on the stream of the handle, and the caller
        // reserved the memory for the plan.
        unsafe { sys::cudnnBackendExecute(self.graph.handle, self.whole.pointer(), pack.pointer()) }
            .result()
            .map_err(reason)?;
        operands
            .added
            .map_or(Ok(()), |added| self.graph.add(result, added))
            .map_err(|error| error.to_string())
    }
}

/// What the graph interface offers for `key`, best first.
pub(super) fn offers<T: Element>(
    device: &CudaDevice,
    handle: sys::cudnnHandle_t,
    key: &Key,
) -> Result<Vec<Offer>, Reason> {
    let graph = Rc::new(Graph::new::<T>(device, handle, key)?);
    let offer = |configuration: Descriptor| -> Offer {
        let graph = Rc::clone(&graph);
        Box::new(move || -> Result<Box<dyn Way>, Reason> { Ok(Box::new(Plan::new(graph, configuration)?)) })
    };
    Ok(graph.configurations()?.into_iter().map(offer).collect())
}
