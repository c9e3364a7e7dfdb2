//! The part of cuDNN's older interface that convolutions need: descriptors and algorithms.

use super::key::{Key, Product};
use crate::cuda::element::Element;
use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::{Error, Result, bail};
use std::ffi::{c_int, c_void};

/// Bytes of memory that an algorithm may use in addition to its tensors.
pub(super) const WORKSPACE: usize = 256 << 20;

/// Algorithms that cuDNN may name for a product.
const ALGORITHMS: usize = 16;

/// Pointers to the three tensors of a convolution. The computed one is written.
#[derive(Clone, Copy)]
pub(super) struct Tensors {
    pub(super) input: *mut c_void,
    pub(super) weight: *mut c_void,
    pub(super) output: *mut c_void,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Algorithm {
    Output(sys::cudnnConvolutionFwdAlgo_t),
    InputGradient(sys::cudnnConvolutionBwdDataAlgo_t),
    WeightGradient(sys::cudnnConvolutionBwdFilterAlgo_t),
}

impl Algorithm {
    /// cuDNN's name.
    pub(super) fn name(self) -> String {
        match self {
            Self::Output(algorithm) => format!("{algorithm:?}"),
            Self::InputGradient(algorithm) => format!("{algorithm:?}"),
            Self::WeightGradient(algorithm) => format!("{algorithm:?}"),
        }
    }
}

/// An algorithm that cuDNN named.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) algorithm: Algorithm,
    /// The arithmetic that cuDNN judged it with.
    pub(super) math: sys::cudnnMathType_t,
    pub(super) repeatable: bool,
    pub(super) milliseconds: Option<f32>,
    /// Bytes, once they are known.
    pub(super) workspace: Option<usize>,
}

/// A convolution as cuDNN knows it. Descriptors live as long as the program.
#[derive(Clone, Copy)]
pub(super) struct Descriptors {
    input: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    output: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

pub(super) fn failed(error: CudnnError) -> Error {
    Error::wrap(error)
}

/// Why an algorithm is not used. It is not an [`Error`], because that may carry a backtrace.
pub(super) type Reason = String;

pub(super) fn reason(CudnnError(status): CudnnError) -> Reason {
    format!("{status:?}")
}

fn int(size: usize) -> c_int {
    size as c_int
}

impl Descriptors {
    pub(super) fn new<T: Element>(key: &Key) -> Result<Self> {
        let g = &key.geometry;
        let sizes = [&g.input[..], &g.output, &g.kernel, &[g.batch, g.stride, g.padding, g.dilation]];
        if sizes.into_iter().flatten().any(|&size| c_int::try_from(size).is_err()) {
            bail!("conv2d: too large for a GPU: {g:?}");
        }
        // cuDNN takes sizes in the order N, C, H, W for every order in memory.
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
                // The type of sums.
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )
            .map_err(failed)?;
            result::set_convolution_math_type(convolution, key.math()).map_err(failed)?;
            Ok(Self { input, weight, output, convolution })
        }
    }

    /// Sets the arithmetic, if one is given, and asks how many bytes of memory the algorithm takes
    /// with it.
    pub(super) fn workspace(
        self,
        handle: sys::cudnnHandle_t,
        algorithm: Algorithm,
        math: Option<sys::cudnnMathType_t>,
    ) -> std::result::Result<usize, Reason> {
        let Self { input, weight, output, convolution } = self;
        // SAFETY: all descriptors are set.
        let bytes = unsafe {
            if let Some(math) = math {
                result::set_convolution_math_type(convolution, math).map_err(reason)?;
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
                Algorithm::WeightGradient(algorithm) => {
                    result::get_convolution_backward_filter_workspace_size(
                        handle,
                        input,
                        output,
                        convolution,
                        weight,
                        algorithm,
                    )
                }
            }
            .map_err(reason)?
        };
        if bytes > WORKSPACE {
            return Err(format!("it needs {bytes} bytes of memory, more than {WORKSPACE}"));
        }
        Ok(bytes)
    }

    /// Starts the algorithm, with `size` bytes of memory at `memory`. With `added`, the result is
    /// added to the output.
    pub(super) fn launch(
        self,
        handle: sys::cudnnHandle_t,
        algorithm: Algorithm,
        (memory, size): (*mut c_void, usize),
        Tensors { input: x, weight: w, output: y }: Tensors,
        added: bool,
    ) -> std::result::Result<(), Reason> {
        let (one, kept) = (1.0_f32, if added { 1.0_f32 } else { 0.0 });
        let (alpha, beta) = ((&raw const one).cast(), (&raw const kept).cast());
        let Self { input, weight, output, convolution } = self;
        // SAFETY: the tensors have the sizes of the descriptors, and the caller reserved the memory
        // for the algorithm.
        unsafe {
            match algorithm {
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
        .map_err(reason)
    }
}

/// cuDNN's list of the algorithms for a product, by `$call`, as candidates.
macro_rules! list {
    ($result:ty, $algorithm:path, $measured:expr, $call:ident($handle:expr, $($before:expr),*; $($behind:expr),*)) => {{
        let mut found: c_int = 0;
        // SAFETY: zeros are a valid result, which consists of plain numbers and enumerations. All
        // descriptors are set, the tensors have their sizes, and the scratch memory has WORKSPACE
        // bytes.
        let results = unsafe {
            let mut results = [std::mem::zeroed::<$result>(); ALGORITHMS];
            let list = results.as_mut_ptr();
            let status = sys::$call($handle, $($before,)* int(ALGORITHMS), &raw mut found, list $(, $behind)*);
            status.result().map(|()| results)
        };
        results.map(|results| -> Vec<Candidate> {
            let known = results.into_iter().take(found.max(0) as usize);
            let works = known.filter(|result| {
                result.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS && result.memory <= WORKSPACE
            });
            works
                .map(|result| Candidate {
                    algorithm: $algorithm(result.algo),
                    math: result.mathType,
                    repeatable: result.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC,
                    milliseconds: $measured.then_some(result.time),
                    workspace: None,
                })
                .collect()
        })
    }};
}

pub(super) type Listed = std::result::Result<Vec<Candidate>, CudnnError>;

/// cuDNN's prediction, best first.
pub(super) fn predicted(handle: sys::cudnnHandle_t, product: Product, descriptors: Descriptors) -> Listed {
    let Descriptors { input, weight, output, convolution } = descriptors;
    match product {
        Product::Output => list!(
            sys::cudnnConvolutionFwdAlgoPerf_t,
            Algorithm::Output,
            false,
            cudnnGetConvolutionForwardAlgorithm_v7(handle, input, weight, convolution, output;)
        ),
        Product::InputGradient => list!(
            sys::cudnnConvolutionBwdDataAlgoPerf_t,
            Algorithm::InputGradient,
            false,
            cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, weight, output, convolution, input;)
        ),
        Product::WeightGradient => list!(
            sys::cudnnConvolutionBwdFilterAlgoPerf_t,
            Algorithm::WeightGradient,
            false,
            cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, input, output, convolution, weight;)
        ),
    }
}

/// cuDNN's measurement on the tensors, fastest first, with WORKSPACE bytes at `scratch`.
pub(super) fn measured(
    handle: sys::cudnnHandle_t,
    product: Product,
    descriptors: Descriptors,
    Tensors { input: x, weight: w, output: y }: Tensors,
    scratch: *mut c_void,
) -> Listed {
    let Descriptors { input, weight, output, convolution } = descriptors;
    match product {
        Product::Output => list!(
            sys::cudnnConvolutionFwdAlgoPerf_t,
            Algorithm::Output,
            true,
            cudnnFindConvolutionForwardAlgorithmEx(
                handle, input, x, weight, w, convolution, output, y; scratch, WORKSPACE)
        ),
        Product::InputGradient => list!(
            sys::cudnnConvolutionBwdDataAlgoPerf_t,
            Algorithm::InputGradient,
            true,
            cudnnFindConvolutionBackwardDataAlgorithmEx(
                handle, weight, w, output, y, convolution, input, x; scratch, WORKSPACE)
        ),
        Product::WeightGradient => list!(
            sys::cudnnConvolutionBwdFilterAlgoPerf_t,
            Algorithm::WeightGradient,
            true,
            cudnnFindConvolutionBackwardFilterAlgorithmEx(
                handle, input, x, output, y, convolution, weight, w; scratch, WORKSPACE)
        ),
    }
}
