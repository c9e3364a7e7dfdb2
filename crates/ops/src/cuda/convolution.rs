//! Convolution by cuDNN, channels last: forward, and the gradients of input and weight.

use super::{Element, room, stored, view};
use crate::cpu::convolution::Geometry;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::result::memcpy_dtod_async;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, CudaStorage, Error, Layout, Result, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who chooses among cuDNN's algorithms for a convolution. Only those are chosen from whose results do not depend on the
/// order in which the GPU's threads run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvolutionChoice {
    /// cuDNN's prediction: the same at every start of the program, so that a run that goes on has the same bits.
    #[default]
    Predicted,
    /// The fastest of all, measured once for each shape: another may win at another start, and round otherwise.
    Measured,
}

static MEASURED: AtomicBool = AtomicBool::new(false);
static TF32: AtomicBool = AtomicBool::new(false);

/// How convolutions and matrix products on GPUs are computed from now on, in the whole process, so a program decides about it.
/// With `tf32`, factors of type f32 are rounded to ten bits behind the point, and the matrix units multiply them;
/// otherwise products of f32 are exact to f32. Sums are of f32 always.
pub fn convolve_in(tf32: bool, choice: ConvolutionChoice) {
    TF32.store(tf32, Ordering::Relaxed);
    MEASURED.store(choice == ConvolutionChoice::Measured, Ordering::Relaxed);
    candle_core::cuda::set_gemm_reduced_precision_f32(tf32);
}

/// Which of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Product {
    Output,
    InputGradient,
    WeightGradient,
}

/// What cuDNN is told about a convolution; another one needs another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    product: Product,
    geometry: Geometry,
    elements: &'static str,
    tf32: bool,
    measured: bool,
}

impl Key {
    /// What cuDNN may make of factors.
    fn math(&self) -> sys::cudnnMathType_t {
        match (self.elements, self.tf32) {
            ("f32", false) => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            ("f32", true) => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
            _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        }
    }
}

enum Algorithm {
    Output(sys::cudnnConvolutionFwdAlgo_t),
    InputGradient(sys::cudnnConvolutionBwdDataAlgo_t),
    WeightGradient(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// A convolution as cuDNN knows it. Descriptors live as long as the program.
#[derive(Clone, Copy)]
struct Descriptors {
    input: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    output: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

/// How it is computed.
struct Plan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    workspace: usize,
}

/// Bytes of memory that an algorithm may use beside its tensors.
const WORKSPACE: usize = 256 << 20;

/// What a thread keeps for a device: cuDNN's handle, which must not be shared, and what is known of each convolution.
struct Library {
    handle: sys::cudnnHandle_t,
    plans: HashMap<Key, Plan>,
    /// One for all convolutions, which run one behind the other.
    workspace: Option<CudaSlice<u8>>,
}

thread_local! {
    static LIBRARIES: RefCell<HashMap<DeviceId, Library>> = RefCell::new(HashMap::new());
}

/// Pointers to the three tensors of a convolution; what is computed is written.
#[derive(Clone, Copy)]
struct Tensors {
    input: *mut c_void,
    weight: *mut c_void,
    output: *mut c_void,
}

fn failed(error: CudnnError) -> Error {
    Error::wrap(error)
}

/// Output (N, OH, OW, O), to which `residual` of the same shape is added.
pub(crate) fn forward<T: Element>(
    g: &Geometry,
    (x, xl): (&CudaStorage, &Layout),
    (weight, wl): (&CudaStorage, &Layout),
    residual: Option<(&CudaStorage, &Layout)>,
) -> Result<CudaStorage> {
    let device = x.device();
    let mut out = room::<T>(device, g.batch * g.output.iter().product::<usize>())?;
    let arguments = [&view::<T>(x, xl)?, &view::<T>(weight, wl)?];
    let residual = residual.map(|(residual, rl)| view::<T>(residual, rl)).transpose()?;
    compute::<T>(device, g, Product::Output, arguments, &mut out, residual.as_ref())?;
    Ok(stored(out, device))
}

/// Gradient of the input (N, H, W, I).
pub(crate) fn input_gradient<T: Element>(
    g: &Geometry,
    (weight, wl): (&CudaStorage, &Layout),
    (gradient, gl): (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    let device = weight.device();
    let mut out = room::<T>(device, g.batch * g.input.iter().product::<usize>())?;
    let arguments = [&view::<T>(weight, wl)?, &view::<T>(gradient, gl)?];
    compute::<T>(device, g, Product::InputGradient, arguments, &mut out, None)?;
    Ok(stored(out, device))
}

/// Gradient of the weight (O, KH, KW, I).
pub(crate) fn weight_gradient<T: Element>(
    g: &Geometry,
    (x, xl): (&CudaStorage, &Layout),
    (gradient, gl): (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    let device = x.device();
    let mut out = room::<T>(device, g.output[2] * g.kernel[0] * g.kernel[1] * g.input[2])?;
    let arguments = [&view::<T>(x, xl)?, &view::<T>(gradient, gl)?];
    compute::<T>(device, g, Product::WeightGradient, arguments, &mut out, None)?;
    Ok(stored(out, device))
}

/// `product` of the two `arguments`, which come in the order input, weight, output's gradient, and `residual` goes to `out`.
fn compute<T: Element>(
    device: &CudaDevice,
    g: &Geometry,
    product: Product,
    arguments: [&CudaView<'_, T>; 2],
    out: &mut CudaSlice<T>,
    residual: Option<&CudaView<'_, T>>,
) -> Result<()> {
    let stream = device.cuda_stream();
    let bytes = out.num_bytes();
    let [(first, _first), (second, _second)] = arguments.map(|argument| argument.device_ptr(&stream));
    let (result, _out) = out.device_ptr_mut(&stream);
    let (target, residual) = (result, residual.map(|residual| residual.device_ptr(&stream)));
    let [first, second, result] = [first, second, result].map(|address| address as *mut c_void);
    let tensors = match product {
        Product::Output => Tensors { input: first, weight: second, output: result },
        Product::InputGradient => Tensors { input: result, weight: first, output: second },
        Product::WeightGradient => Tensors { input: first, weight: result, output: second },
    };
    let key = key::<T>(g, product);
    prepare::<T>(device, &key, tensors)?;
    if let Some((residual, _)) = &residual {
        // SAFETY: a residual has the output's shape. It comes behind what measuring wrote there.
        unsafe { memcpy_dtod_async(target, *residual, bytes, stream.cu_stream()) }.map_err(Error::wrap)?;
    }
    run(device, &key, tensors, residual.is_some())
}

fn key<T: Element>(g: &Geometry, product: Product) -> Key {
    Key {
        product,
        geometry: *g,
        elements: T::NAME,
        tf32: TF32.load(Ordering::Relaxed),
        measured: MEASURED.load(Ordering::Relaxed),
    }
}

/// Makes sure that there is a plan. Where algorithms are measured, what they compute is written into the tensors.
fn prepare<T: Element>(device: &CudaDevice, key: &Key, tensors: Tensors) -> Result<()> {
    LIBRARIES.with_borrow_mut(|libraries| {
        let library = match libraries.entry(device.id()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let stream = device.cuda_stream();
                stream.context().bind_to_thread().map_err(Error::wrap)?;
                let handle = result::create_handle().map_err(failed)?;
                // SAFETY: both were just made, and the stream lives as long as the device.
                unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed)?;
                new.insert(Library { handle, plans: HashMap::new(), workspace: None })
            }
        };
        if !library.plans.contains_key(key) {
            let plan = plan::<T>(library.handle, device, key, tensors)?;
            if library.workspace.as_ref().map_or(0, CudaSlice::len) < plan.workspace {
                // What runs on the former one is in front of it on the stream.
                library.workspace = Some(room::<u8>(device, plan.workspace)?);
            }
            library.plans.insert(*key, plan);
        }
        Ok(())
    })
}

fn int(size: usize) -> c_int {
    size as c_int
}

impl Descriptors {
    fn new<T: Element>(key: &Key) -> Result<Self> {
        let g = &key.geometry;
        let sizes = [&g.input[..], &g.output, &g.kernel, &[g.batch, g.stride, g.padding, g.dilation]];
        if sizes.into_iter().flatten().any(|&size| c_int::try_from(size).is_err()) {
            bail!("conv2d: too large for a GPU: {g:?}");
        }
        // cuDNN names sizes in the order N, C, H, W, wherever they are in memory.
        let [height, width, inputs] = g.input.map(int);
        let [out_height, out_width, outputs] = g.output.map(int);
        let [stride, padding, dilation] = [g.stride, g.padding, g.dilation].map(int);
        let (order, elements) = (sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, T::DATA_TYPE);
        // SAFETY: descriptors are set before they are used, with sizes that were checked.
        unsafe {
            let input = result::create_tensor_descriptor().map_err(failed)?;
            let sizes = [int(g.batch), inputs, height, width];
            result::set_tensor4d_descriptor(input, order, elements, sizes).map_err(failed)?;
            let output = result::create_tensor_descriptor().map_err(failed)?;
            let sizes = [int(g.batch), outputs, out_height, out_width];
            result::set_tensor4d_descriptor(output, order, elements, sizes).map_err(failed)?;
            let weight = result::create_filter_descriptor().map_err(failed)?;
            let sizes = [outputs, inputs, int(g.kernel[0]), int(g.kernel[1])];
            result::set_filter4d_descriptor(weight, elements, order, sizes).map_err(failed)?;
            let convolution = result::create_convolution_descriptor().map_err(failed)?;
            result::set_convolution2d_descriptor(
                convolution,
                padding,
                padding,
                stride,
                stride,
                dilation,
                dilation,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                // What sums are kept in.
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )
            .map_err(failed)?;
            result::set_convolution_math_type(convolution, key.math()).map_err(failed)?;
            Ok(Self { input, weight, output, convolution })
        }
    }
}

fn plan<T: Element>(
    handle: sys::cudnnHandle_t,
    device: &CudaDevice,
    key: &Key,
    tensors: Tensors,
) -> Result<Plan> {
    let descriptors = Descriptors::new::<T>(key)?;
    let Descriptors { input, weight, output, convolution } = descriptors;
    let (algorithm, math) = choose(handle, device, key, descriptors, tensors)?;
    // SAFETY: all descriptors are set.
    let workspace = unsafe {
        if key.math() != sys::cudnnMathType_t::CUDNN_FMA_MATH {
            result::set_convolution_math_type(convolution, math).map_err(failed)?;
        }
        match algorithm {
            Algorithm::Output(algorithm) => result::get_convolution_forward_workspace_size(
                handle,
                input,
                weight,
                convolution,
                output,
                algorithm,
            ),
            Algorithm::InputGradient(algorithm) => result::get_convolution_backward_data_workspace_size(
                handle,
                weight,
                output,
                convolution,
                input,
                algorithm,
            ),
            Algorithm::WeightGradient(algorithm) => result::get_convolution_backward_filter_workspace_size(
                handle,
                input,
                output,
                convolution,
                weight,
                algorithm,
            ),
        }
        .map_err(failed)?
    };
    Ok(Plan { descriptors, algorithm, workspace })
}

/// The algorithm, and the arithmetic that it was judged with.
fn choose(
    handle: sys::cudnnHandle_t,
    device: &CudaDevice,
    key: &Key,
    Descriptors { input, weight, output, convolution }: Descriptors,
    Tensors { input: x, weight: w, output: y }: Tensors,
) -> Result<(Algorithm, sys::cudnnMathType_t)> {
    let scratch = key.measured.then(|| room::<u8>(device, WORKSPACE)).transpose()?;
    let stream = device.cuda_stream();
    let scratch = scratch.as_ref().map(|scratch| scratch.device_ptr(&stream));
    let scratch_pointer = scratch.as_ref().map(|(pointer, _)| *pointer as *mut c_void);
    let mut found: c_int = 0;
    let found = &raw mut found;

    // What cuDNN knows of the algorithms for one product, by prediction or measured, best first.
    macro_rules! results {
        ($result:ty, $measure:ident($($tensor:expr),*), $predict:ident($($descriptor:expr),*)) => {{
            // SAFETY: a result of zeros is a valid one of plain numbers and enumerations. All descriptors are set; the tensors
            // have the sizes that they say, and the scratch memory has WORKSPACE bytes.
            unsafe {
                let mut results = [std::mem::zeroed::<$result>(); ALGORITHMS];
                let list = results.as_mut_ptr();
                let status = match scratch_pointer {
                    Some(scratch) => {
                        sys::$measure(handle, $($tensor),*, int(ALGORITHMS), found, list, scratch, WORKSPACE)
                    }
                    None => sys::$predict(handle, $($descriptor),*, int(ALGORITHMS), found, list),
                };
                status.result().map_err(failed)?;
                let known = results.into_iter().take((*found).max(0) as usize);
                known.map(|result| Candidate {
                    algorithm: result.algo,
                    usable: result.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                        && result.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                        && result.memory <= WORKSPACE,
                    math: result.mathType,
                })
            }
        }};
    }
    Ok(match key.product {
        Product::Output => {
            let all = results!(
                sys::cudnnConvolutionFwdAlgoPerf_t,
                cudnnFindConvolutionForwardAlgorithmEx(input, x, weight, w, convolution, output, y),
                cudnnGetConvolutionForwardAlgorithm_v7(input, weight, convolution, output)
            );
            let (algorithm, math) = best(all, key)?;
            (Algorithm::Output(algorithm), math)
        }
        Product::InputGradient => {
            let all = results!(
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                cudnnFindConvolutionBackwardDataAlgorithmEx(weight, w, output, y, convolution, input, x),
                cudnnGetConvolutionBackwardDataAlgorithm_v7(weight, output, convolution, input)
            );
            let (algorithm, math) = best(all, key)?;
            (Algorithm::InputGradient(algorithm), math)
        }
        Product::WeightGradient => {
            let all = results!(
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                cudnnFindConvolutionBackwardFilterAlgorithmEx(input, x, output, y, convolution, weight, w),
                cudnnGetConvolutionBackwardFilterAlgorithm_v7(input, output, convolution, weight)
            );
            let (algorithm, math) = best(all, key)?;
            (Algorithm::WeightGradient(algorithm), math)
        }
    })
}

/// Algorithms that cuDNN may name for a product.
const ALGORITHMS: usize = 16;

/// An algorithm, whether it may be taken, and the arithmetic that it was judged with.
struct Candidate<A> {
    algorithm: A,
    usable: bool,
    math: sys::cudnnMathType_t,
}

/// The first that may be taken.
fn best<A>(all: impl Iterator<Item = Candidate<A>>, key: &Key) -> Result<(A, sys::cudnnMathType_t)> {
    match all.into_iter().find(|candidate| candidate.usable) {
        Some(Candidate { algorithm, math, .. }) => Ok((algorithm, math)),
        None => bail!("conv2d: cuDNN has no repeatable algorithm in {WORKSPACE} bytes for {key:?}"),
    }
}

/// Computes what is prepared; `added` adds it to what the output holds.
fn run(device: &CudaDevice, key: &Key, tensors: Tensors, added: bool) -> Result<()> {
    let stream = device.cuda_stream();
    let (one, kept) = (1.0_f32, if added { 1.0_f32 } else { 0.0 });
    let (alpha, beta) = ((&raw const one).cast(), (&raw const kept).cast());
    let Tensors { input: x, weight: w, output: y } = tensors;
    LIBRARIES.with_borrow_mut(|libraries| {
        let library = libraries.get_mut(&device.id()).expect("prepared");
        let Plan { descriptors, algorithm, .. } = &library.plans[key];
        let Descriptors { input, weight, output, convolution } = *descriptors;
        let size = library.workspace.as_ref().map_or(0, CudaSlice::len);
        let workspace = library.workspace.as_mut().map(|workspace| workspace.device_ptr_mut(&stream));
        let memory = workspace.as_ref().map_or(null_mut(), |(pointer, _)| *pointer as *mut c_void);
        let handle = library.handle;
        // SAFETY: the tensors have the sizes that the descriptors say, the workspace at least those of the plan.
        unsafe {
            match *algorithm {
                Algorithm::Output(algorithm) => result::convolution_forward(
                    handle,
                    alpha,
                    input,
                    x,
                    weight,
                    w,
                    convolution,
                    algorithm,
                    memory,
                    size,
                    beta,
                    output,
                    y,
                ),
                Algorithm::InputGradient(algorithm) => result::convolution_backward_data(
                    handle,
                    alpha,
                    weight,
                    w,
                    output,
                    y,
                    convolution,
                    algorithm,
                    memory,
                    size,
                    beta,
                    input,
                    x,
                ),
                Algorithm::WeightGradient(algorithm) => result::convolution_backward_filter(
                    handle,
                    alpha,
                    input,
                    x,
                    output,
                    y,
                    convolution,
                    algorithm,
                    memory,
                    size,
                    beta,
                    weight,
                    w,
                ),
            }
        }
        .map_err(failed)
    })
}
