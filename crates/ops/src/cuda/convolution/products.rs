//! 1x1 convolutions as matrix products by cublasLt, which adds a tensor, or a bias and `ReLU`, to the
//! product while it is written, and offers several algorithms.

use super::cudnn::{Reason, WORKSPACE};
use super::epilogue::Epilogue;
use super::key::{Key, Product};
use super::way::{ALIGNMENT, Offer, Operands, Way};
use crate::arithmetic::Factors;
use crate::cuda::element::Element;
use candle_core::DType;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::result::{
    CublasError, create_handle, create_matmul_desc, create_matmul_pref, create_matrix_layout, matmul,
    set_matmul_desc_attribute, set_matmul_pref_attribute,
};
use candle_core::cuda_backend::cudarc::cublaslt::sys;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use std::cell::OnceCell;
use std::ffi::{c_int, c_void};
use std::ptr::from_ref;
use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

/// Algorithms that cublasLt is asked for.
const ALGORITHMS: usize = 8;

fn reason(CublasError(status): CublasError) -> Reason {
    format!("{status:?}")
}

/// This thread's handle. It has no device: a call uses that of its stream.
fn handle() -> Result<sys::cublasLtHandle_t, Reason> {
    thread_local! {
        static HANDLE: OnceCell<Result<sys::cublasLtHandle_t, Reason>> = const { OnceCell::new() };
    }
    HANDLE.with(|known| {
        known
            .get_or_init(|| {
                // SAFETY: opening the library runs no code of ours. cudarc would panic without it.
                if unsafe { sys::is_culib_present() } {
                    create_handle().map_err(reason)
                } else {
                    Err("there is no library cublasLt".into())
                }
            })
            .clone()
    })
}

/// A product as cublasLt knows it. Matrices are column by column, so those of tensors are transposed.
/// Descriptors live as long as the program.
#[derive(Clone, Copy)]
struct Description {
    operation: sys::cublasLtMatmulDesc_t,
    left: sys::cublasLtMatrixLayout_t,
    right: sys::cublasLtMatrixLayout_t,
    result: sys::cublasLtMatrixLayout_t,
    /// Whether the left matrix is the second factor.
    swapped: bool,
}

/// Sets an attribute of a product. `V` is what cublasLt reads.
fn set<V: Copy>(operation: sys::cublasLtMatmulDesc_t, which: Attribute, value: V) -> Result<(), Reason> {
    // SAFETY: the call states the value's size.
    unsafe { set_matmul_desc_attribute(operation, which, from_ref(&value).cast(), size_of_val(&value)) }
        .map_err(reason)
}

impl Description {
    fn new<T: Element>(key: &Key, epilogue: Option<Epilogue<*mut c_void>>) -> Result<Self, Reason> {
        let g = &key.geometry;
        let pixels = (g.batch * g.output[0] * g.output[1]) as u64;
        let (inputs, outputs) = (g.input[2] as u64, g.output[2] as u64);
        let (elements, compute) = match (T::TYPE, key.arithmetic.factors) {
            (DType::BF16, _) => {
                (sys::cudaDataType_t::CUDA_R_16BF, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F)
            }
            (_, Factors::Tf32) => {
                (sys::cudaDataType_t::CUDA_R_32F, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32)
            }
            _ => (sys::cudaDataType_t::CUDA_R_32F, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F),
        };
        let matrix = |rows: u64, columns: u64| {
            create_matrix_layout(elements, rows, columns, rows as i64).map_err(reason)
        };
        let operation = create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).map_err(reason)?;
        if let Some(Epilogue::BiasRelu(bias)) = epilogue {
            // The bias is one of rows, which are channels, and has the type of the result.
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_RELU_BIAS;
            set(operation, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
            // The list of algorithms depends on the address's alignment.
            set(operation, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
        }
        let transpose = |which: Attribute| set(operation, which, cublasOperation_t::CUBLAS_OP_T);
        let of_input = || matrix(inputs, pixels);
        let of_output = || matrix(outputs, pixels);
        let of_weight = || matrix(inputs, outputs);
        Ok(match key.product {
            Product::Output => {
                transpose(Attribute::CUBLASLT_MATMUL_DESC_TRANSA)?;
                let (left, right, result) = (of_weight()?, of_input()?, of_output()?);
                Self { operation, left, right, result, swapped: true }
            }
            Product::InputGradient => {
                let (left, right, result) = (of_weight()?, of_output()?, of_input()?);
                Self { operation, left, right, result, swapped: false }
            }
            Product::WeightGradient => {
                transpose(Attribute::CUBLASLT_MATMUL_DESC_TRANSB)?;
                let (left, right, result) = (of_input()?, of_output()?, of_weight()?);
                Self { operation, left, right, result, swapped: false }
            }
        })
    }

    /// The algorithms that cublasLt thinks the fastest, best first.
    fn algorithms(
        self,
        handle: sys::cublasLtHandle_t,
    ) -> Result<Vec<sys::cublasLtMatmulHeuristicResult_t>, Reason> {
        let preference = create_matmul_pref().map_err(reason)?;
        let prefer = |which: Preference, value: *const c_void, bytes: usize| {
            // SAFETY: the attributes' values are integers of these sizes.
            unsafe { set_matmul_pref_attribute(preference, which, value, bytes) }.map_err(reason)
        };
        let memory = WORKSPACE as u64;
        let which = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        prefer(which, from_ref(&memory).cast(), size_of_val(&memory))?;
        // Partial sums stay f32, and are added in a fixed order.
        let reduction = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        let which = Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
        prefer(which, from_ref(&reduction).cast(), size_of_val(&reduction))?;
        let alignment = ALIGNMENT as u32;
        for which in [
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            prefer(which, from_ref(&alignment).cast(), size_of_val(&alignment))?;
        }
        let mut found: c_int = 0;
        // SAFETY: zeros are a valid result, which consists of plain numbers. All descriptors are set.
        let results = unsafe {
            let mut results = [std::mem::zeroed::<sys::cublasLtMatmulHeuristicResult_t>(); ALGORITHMS];
            let list = results.as_mut_ptr();
            let status = sys::cublasLtMatmulAlgoGetHeuristic(
                handle,
                self.operation,
                self.left,
                self.right,
                self.result,
                self.result,
                preference,
                ALGORITHMS as c_int,
                list,
                &raw mut found,
            );
            status.result().map_err(reason)?;
            results
        };
        let known = results.into_iter().take(found.max(0) as usize);
        let works = |result: &sys::cublasLtMatmulHeuristicResult_t| {
            result.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS && result.workspaceSize <= WORKSPACE
        };
        Ok(known.filter(works).collect())
    }
}

/// One of cublasLt's algorithms for a product.
struct Matmul {
    handle: sys::cublasLtHandle_t,
    description: Description,
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: usize,
    /// Its place in cublasLt's list, from 1.
    place: usize,
}

impl Way for Matmul {
    fn name(&self) -> String {
        format!("cublasLt, choice {}", self.place)
    }

    fn workspace(&self) -> usize {
        self.workspace
    }

    fn start(&self, stream: &CudaStream, operands: Operands, memory: *mut c_void) -> Result<(), Reason> {
        let Description { operation, left, right, result, swapped } = self.description;
        let [first, second] = operands.factors;
        let (a, b) = if swapped { (second, first) } else { (first, second) };
        let one = 1.0_f32;
        let (added, kept) = match operands.epilogue {
            Some(Epilogue::Add(added)) => (added, 1.0_f32),
            _ => (operands.result, 0.0),
        };
        if let Some(Epilogue::BiasRelu(bias)) = operands.epilogue {
            set(operation, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
        }
        // SAFETY: the operands have the sizes of the descriptors, and the caller reserved the memory
        // for the algorithm.
        unsafe {
            matmul(
                self.handle,
                operation,
                from_ref(&one).cast(),
                from_ref(&kept).cast(),
                a,
                left,
                b,
                right,
                added,
                result,
                operands.result,
                result,
                &raw const self.algorithm,
                memory,
                self.workspace,
                stream.cu_stream().cast(),
            )
        }
        .map_err(reason)
    }
}

/// What cublasLt offers for `key`, best first.
pub(super) fn offers<T: Element>(
    key: &Key,
    epilogue: Option<Epilogue<*mut c_void>>,
) -> Result<Vec<Offer>, Reason> {
    let handle = handle()?;
    let description = Description::new::<T>(key, epilogue)?;
    let found = description.algorithms(handle)?.into_iter().enumerate();
    let offer = |(index, result): (usize, sys::cublasLtMatmulHeuristicResult_t)| -> Offer {
        let (algorithm, workspace) = (result.algo, result.workspaceSize);
        let way = Matmul { handle, description, algorithm, workspace, place: index + 1 };
        Box::new(move || -> Result<Box<dyn Way>, Reason> { Ok(Box::new(way)) })
    };
    Ok(found.map(offer).collect())
}
