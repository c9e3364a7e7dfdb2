//! Convolutions by cuDNN's graph interface, which offers each kernel with its settings. The older
//! interface reaches the same kernels, but names families of them alone and tunes none.

use super::cudnn::{Reason, WORKSPACE, reason};
use super::descriptor::Descriptor;
use super::epilogue::Epilogue;
use super::graph_operations::{Place, convolution, function, geometry, pointwise, tensor};
use super::key::{Key, Product};
use super::way::{Offer, Operands, Way};
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
use sys::cudnnPointwiseMode_t as Mode;

/// Kernels that are considered.
const MOST: usize = 12;

/// Names of a graph's tensors, those in memory first.
const INPUT: i64 = 1;
const WEIGHT: i64 = 2;
const OUTPUT: i64 = 3;
const BIAS: i64 = 4;
const PRODUCT: i64 = 5;
const SUM: i64 = 6;

/// A product as a graph of one operation, or of three with a bias and `ReLU`. The descriptors that it
/// refers to live as long.
struct Graph {
    device: CudaDevice,
    /// The kernel that adds a tensor to the result, and the number of its threads.
    addition: (String, usize),
    whole: Descriptor,
    _parts: Vec<Descriptor>,
    handle: sys::cudnnHandle_t,
    product: Product,
}

impl Graph {
    fn new<T: Element>(
        device: &CudaDevice,
        handle: sys::cudnnHandle_t,
        key: &Key,
        epilogue: Option<Epilogue>,
    ) -> Result<Self, Reason> {
        let (g, count) = (&key.geometry, key.product.size(&key.geometry));
        let width = if count.is_multiple_of(T::WIDTH) { T::WIDTH } else { 1 };
        let addition = (stamped::<T>("accumulate", width), count / width);
        let ([height, width, inputs], [out_height, out_width, outputs]) = (g.input, g.output);
        let memory = Place::Memory(T::DATA_TYPE);
        let output = [g.batch, outputs, out_height, out_width];
        let tensors = [
            tensor(INPUT, memory, [g.batch, inputs, height, width])?,
            tensor(WEIGHT, memory, [outputs, inputs, g.kernel[0], g.kernel[1]])?,
            tensor(OUTPUT, memory, output)?,
        ];
        let [input, weight, result] = tensors.each_ref();
        let (how, product) = (geometry(key)?, key.product);
        let mut parts = Vec::new();
        let operations = if epilogue == Some(Epilogue::BiasRelu(())) {
            let [add, relu] =
                [function(Mode::CUDNN_POINTWISE_ADD)?, function(Mode::CUDNN_POINTWISE_RELU_FWD)?];
            let bias = tensor(BIAS, memory, [1, outputs, 1, 1])?;
            let alone = tensor(PRODUCT, Place::Kernel, output)?;
            let sum = tensor(SUM, Place::Kernel, output)?;
            let operations = vec![
                convolution(product, &how, [input, weight, &alone])?,
                pointwise(&add, &alone, Some(&bias), &sum)?,
                pointwise(&relu, &sum, None, result)?,
            ];
            parts.extend([add, relu, bias, alone, sum]);
            operations
        } else {
            vec![convolution(product, &how, [input, weight, result])?]
        };
        let whole = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
        let links: Vec<_> = operations.iter().collect();
        whole.link(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &links)?;
        whole.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, Type::CUDNN_TYPE_HANDLE, &[handle])?;
        let (whole, device) = (whole.finish()?, device.clone());
        parts.extend(tensors.into_iter().chain([how]).chain(operations));
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
        let (mut names, mut pointers) = (vec![INPUT, WEIGHT, OUTPUT], pointers.to_vec());
        if let Some(Epilogue::BiasRelu(bias)) = operands.epilogue {
            names.push(BIAS);
            pointers.push(bias);
        }
        let pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, Type::CUDNN_TYPE_INT64, &names)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, Type::CUDNN_TYPE_VOID_PTR, &pointers)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &[memory])?;
        let pack = pack.finish()?;
        // SAFETY: the tensors have the sizes of the graph, on the stream of the handle, and the caller
        // reserved the memory for the plan.
        unsafe { sys::cudnnBackendExecute(self.graph.handle, self.whole.pointer(), pack.pointer()) }
            .result()
            .map_err(reason)?;
        match operands.epilogue {
            Some(Epilogue::Add(added)) => self.graph.add(result, added).map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }
}

/// What the graph interface offers for `key`, best first.
pub(super) fn offers<T: Element>(
    device: &CudaDevice,
    handle: sys::cudnnHandle_t,
    key: &Key,
    epilogue: Option<Epilogue>,
) -> Result<Vec<Offer>, Reason> {
    let graph = Rc::new(Graph::new::<T>(device, handle, key, epilogue)?);
    let offer = |configuration: Descriptor| -> Offer {
        let graph = Rc::clone(&graph);
        Box::new(move || -> Result<Box<dyn Way>, Reason> { Ok(Box::new(Plan::new(graph, configuration)?)) })
    };
    Ok(graph.configurations()?.into_iter().map(offer).collect())
}
