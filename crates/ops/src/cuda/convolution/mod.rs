//! Convolution, channels last: forward, and the gradients of input and weight. By cuDNN's algorithms, of which the next one is
//! taken where one fails; by patches and a matrix product where none is left.

mod cudnn;
mod patches;
mod plan;
mod record;

pub use plan::convolution_records;
pub use record::ConvolutionRecord;

use super::{Element, room, stored, view};
use crate::cpu::convolution::Geometry;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::result::memcpy_dtod_async;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, CudaStorage, Error, Layout, Result};
use cudnn::Tensors;
use plan::{Attempt, with_plan};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who chooses among cuDNN's algorithms for a convolution. As long as there is one whose results do not depend on the order in
/// which the GPU's threads run, others are not taken.
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

/// A tensor that a product is of.
type Argument<'a> = (&'a CudaStorage, &'a Layout);

/// Output (N, OH, OW, O), to which `residual` of the same shape is added.
pub(crate) fn forward<T: Element>(
    g: &Geometry,
    x: Argument<'_>,
    weight: Argument<'_>,
    residual: Option<Argument<'_>>,
) -> Result<CudaStorage> {
    compute::<T>(g, Product::Output, [x, weight], residual)
}

/// Gradient of the input (N, H, W, I).
pub(crate) fn input_gradient<T: Element>(
    g: &Geometry,
    weight: Argument<'_>,
    gradient: Argument<'_>,
) -> Result<CudaStorage> {
    compute::<T>(g, Product::InputGradient, [weight, gradient], None)
}

/// Gradient of the weight (O, KH, KW, I).
pub(crate) fn weight_gradient<T: Element>(
    g: &Geometry,
    x: Argument<'_>,
    gradient: Argument<'_>,
) -> Result<CudaStorage> {
    compute::<T>(g, Product::WeightGradient, [x, gradient], None)
}

/// `product` of the two `arguments`, which come in the order input, weight, output's gradient; with `residual` added to it.
fn compute<T: Element>(
    g: &Geometry,
    product: Product,
    arguments: [Argument<'_>; 2],
    residual: Option<Argument<'_>>,
) -> Result<CudaStorage> {
    let device = arguments[0].0.device();
    let key = Key {
        product,
        geometry: *g,
        elements: T::NAME,
        tf32: TF32.load(Ordering::Relaxed),
        measured: MEASURED.load(Ordering::Relaxed),
    };
    match by_cudnn::<T>(device, &key, arguments, residual)? {
        Some(out) => Ok(out),
        None => patches::compute::<T>(g, product, arguments, residual),
    }
}

/// `None` if cuDNN has nothing that works.
fn by_cudnn<T: Element>(
    device: &CudaDevice,
    key: &Key,
    arguments: [Argument<'_>; 2],
    residual: Option<Argument<'_>>,
) -> Result<Option<CudaStorage>> {
    let (g, stream) = (&key.geometry, device.cuda_stream());
    let [first, second] = arguments.map(|(storage, layout)| view::<T>(storage, layout));
    let [first, second] = [first?, second?];
    let residual = residual.map(|(storage, layout)| view::<T>(storage, layout)).transpose()?;
    let mut out = room::<T>(device, key.product.size(g))?;
    let bytes = out.num_bytes();
    let done = {
        let [(first, _first), (second, _second)] = [&first, &second].map(|view| view.device_ptr(&stream));
        let residual = residual.as_ref().map(|residual| residual.device_ptr(&stream));
        let (target, _out) = out.device_ptr_mut(&stream);
        let [first, second, result] = [first, second, target].map(|address| address as *mut c_void);
        let tensors = match key.product {
            Product::Output => Tensors { input: first, weight: second, output: result },
            Product::InputGradient => Tensors { input: result, weight: first, output: second },
            Product::WeightGradient => Tensors { input: first, weight: result, output: second },
        };
        with_plan::<T, _>(device, key, tensors, |plan, library| {
            loop {
                if let Some((residual, _)) = &residual {
                    // SAFETY: a residual has the output's shape. It comes behind what measuring wrote there, or an attempt.
                    unsafe { memcpy_dtod_async(target, *residual, bytes, stream.cu_stream()) }
                        .map_err(Error::wrap)?;
                }
                match plan.attempt(library, device, tensors, residual.is_some()) {
                    Attempt::Done => return Ok(true),
                    Attempt::Failed => {}
                    Attempt::NothingLeft => return Ok(false),
                }
            }
        })?
    };
    Ok(done.then(|| stored(out, device)))
}

impl Product {
    /// Elements of what is computed.
    fn size(self, g: &Geometry) -> usize {
        match self {
            Self::Output => g.batch * g.output.iter().product::<usize>(),
            Self::InputGradient => g.batch * g.input.iter().product::<usize>(),
            Self::WeightGradient => g.output[2] * g.kernel.iter().product::<usize>() * g.input[2],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::InputGradient => "input_gradient",
            Self::WeightGradient => "weight_gradient",
        }
    }
}
