//! The CUDA side of the operations: each computes what its namesake in `cpu` does, on the stream of its device.
//!
//! Own kernels are in `kernels`, compiled into the program; convolutions are cuDNN's, matrix products cuBLAS's. Activations
//! are f32 or bf16, all sums are of f32 or wider. Nothing here waits for the device.
#![allow(unsafe_code)]

pub(crate) mod batch_norm;
pub(crate) mod convolution;
mod device;
pub(crate) mod elementwise;
pub(crate) mod pixel_objective;
pub(crate) mod pooling;
pub(crate) mod pyramid;
pub(crate) mod sgd;
pub(crate) mod staging;
pub(crate) mod upsample;

pub use convolution::{ConvolutionChoice, ConvolutionRecord, convolution_records, convolve_in};
pub use device::{count, name, open, peak_bytes};

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::cudnn::CudnnDataType;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, CudaView, CudaViewMut, DevicePtr, DeviceRepr, LaunchConfig,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, Storage, Tensor, bail};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Once, PoisonError};

/// An element of an activation.
pub(crate) trait Element: CudaDType + CudnnDataType + DeviceRepr {
    /// In the names of kernels.
    const NAME: &'static str;
    /// Elements of an access of 16 bytes.
    const WIDTH: usize;
    const TYPE: DType;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
    const WIDTH: usize = 4;
    const TYPE: DType = DType::F32;
}

impl Element for half::bf16 {
    const NAME: &'static str = "bf16";
    const WIDTH: usize = 8;
    const TYPE: DType = DType::BF16;
}

/// Calls `$function::<T>` with T the type of the elements of `$storage`.
macro_rules! by_element {
    ($storage:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match candle_core::backend::BackendStorage::dtype($storage) {
            candle_core::DType::F32 => $function::<f32>($($argument),*),
            candle_core::DType::BF16 => $function::<half::bf16>($($argument),*),
            other => candle_core::bail!("expected elements of type f32 or bf16, found {other:?}"),
        }
    };
}
pub(crate) use by_element;

/// Starts kernel `$name` on the stream of `$device`. The arguments are those of the kernel, in their order and types.
macro_rules! launch {
    ($device:expr, $name:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
        let function = $crate::cuda::kernel($device, $name)?;
        let stream = $device.cuda_stream();
        // SAFETY: the kernel reads and writes within the tensors whose sizes it is given beside them; each call
        // is tested against the CPU with guarded memory.
        let launched = unsafe { stream.launch_builder(&function)$(.arg($argument))+.launch($config) };
        launched.map(drop).map_err(candle_core::Error::wrap)?
    }};
}
pub(crate) use launch;

/// Threads of a block; the kernels count on no more.
const THREADS: u32 = 256;

/// One thread for each of `count` elements.
pub(crate) fn per_element(count: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (count.div_ceil(THREADS as usize) as u32, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// Threads for a sheet of `rows` pixels by `channels`, `width` channels and about `rows_of_thread` rows each.
pub(crate) fn sheet(rows: usize, channels: usize, width: usize, rows_of_thread: usize) -> LaunchConfig {
    let packs = channels.div_ceil(width);
    let across = packs.next_power_of_two().min(32);
    let down = THREADS as usize / across;
    let blocks = rows.div_ceil(down * rows_of_thread).clamp(1, 2048);
    LaunchConfig {
        grid_dim: (packs.div_ceil(across) as u32, blocks as u32, 1),
        block_dim: (across as u32, down as u32, 1),
        shared_mem_bytes: 0,
    }
}

/// How many elements of type T an access may have: those of 16 bytes if `channels` and the places where the tensors
/// begin are multiples, else one.
pub(crate) fn width<T: Element>(channels: usize, layouts: &[&Layout]) -> usize {
    let even = layouts.iter().all(|layout| layout.start_offset().is_multiple_of(T::WIDTH));
    if even && channels.is_multiple_of(T::WIDTH) { T::WIDTH } else { 1 }
}

/// The name of the kernel for elements of type T and accesses of `width` elements.
pub(crate) fn stamped<T: Element>(name: &str, width: usize) -> String {
    format!("{name}_{}_{width}", T::NAME)
}

/// Warns the first time; later it writes a debug message.
pub(crate) fn warn_once(once: &Once, text: std::fmt::Arguments<'_>) {
    let mut first = false;
    once.call_once(|| first = true);
    if first {
        tracing::warn!("{text}");
    } else {
        tracing::debug!("{text}");
    }
}

static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// A kernel of the program's own.
pub(crate) fn kernel(device: &CudaDevice, name: &str) -> Result<CudaFunction> {
    #[derive(Default)]
    struct Loaded {
        modules: HashMap<usize, Arc<CudaModule>>,
        functions: HashMap<(usize, String), CudaFunction>,
    }
    static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);
    let (stream, name) = (device.cuda_stream(), name.to_owned());
    let ordinal = stream.context().ordinal();
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let Loaded { modules, functions } = loaded.get_or_insert_default();
    if let Some(function) = functions.get(&(ordinal, name.clone())) {
        return Ok(function.clone());
    }
    let module = if let Some(module) = modules.get(&ordinal) {
        module.clone()
    } else {
        let module = stream.context().load_module(Ptx::from_binary(KERNELS.to_vec())).map_err(Error::wrap)?;
        modules.insert(ordinal, module.clone());
        module
    };
    let function = module.load_function(&name).map_err(Error::wrap)?;
    functions.insert((ordinal, name), function.clone());
    Ok(function)
}

/// The contiguous elements of a tensor.
pub(crate) fn view<'a, T: CudaDType>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor");
    };
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

/// The contiguous elements of a tensor, to be changed in place.
pub(crate) fn view_mut<'a, T: CudaDType>(
    storage: &'a mut CudaStorage,
    layout: &Layout,
) -> Result<CudaViewMut<'a, T>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor");
    };
    Ok(storage.as_cuda_slice_mut::<T>()?.slice_mut(start..end))
}

/// The storage of a tensor that an operation holds beside its arguments.
pub(crate) fn storage_of<'a>(storage: &'a Storage, operation: &str) -> Result<&'a CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => bail!("{operation}: all tensors must be on the same device"),
    }
}

/// Where the elements of a contiguous tensor are. Whoever writes there orders it against all that reads them: on the device's
/// stream, or by events.
pub(crate) fn address<T: CudaDType>(device: &CudaDevice, tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let elements = view::<T>(storage_of(&storage, "the device's tensors")?, layout)?;
    let stream = device.cuda_stream();
    let (address, _guard) = elements.device_ptr(&stream);
    Ok(address)
}

/// Room for `count` elements, which the caller writes all.
pub(crate) fn room<T: DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    // SAFETY: every kernel writes all elements of its output; tested with memory that is filled with NaNs before.
    unsafe { device.alloc::<T>(count) }
}

/// A storage of what a kernel has written.
pub(crate) fn stored<T: CudaDType>(elements: CudaSlice<T>, device: &CudaDevice) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(elements, device.clone())
}
