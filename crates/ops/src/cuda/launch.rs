//! Launches of the program's own kernels.

use super::users::enter;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaModule, LaunchConfig};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Starts kernel `$name` on the stream of `$device`. The arguments are the kernel's, in their order
/// and with their types.
macro_rules! launch {
    ($device:expr, $name:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
        let function = $crate::cuda::launch::kernel($device, $name)?;
        let stream = $device.cuda_stream();
        // SAFETY: the kernel reads and writes within the tensors, whose sizes are among its
        // arguments. Tests compare each call with the CPU, with guarded memory.
        let launched = unsafe { stream.launch_builder(&function)$(.arg($argument))+.launch($config) };
        launched.map(drop).map_err(candle_core::Error::wrap)?
    }};
}
pub(super) use launch;

/// Threads of a block, the most that the kernels allow for.
const THREADS: u32 = 256;

/// One thread for each of `count` elements.
pub(super) fn per_element(count: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (count.div_ceil(THREADS as usize) as u32, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// Threads for a sheet of `rows` pixels by `channels`, `width` channels and about `rows_of_thread`
/// rows each.
pub(super) fn sheet(rows: usize, channels: usize, width: usize, rows_of_thread: usize) -> LaunchConfig {
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

/// Blocks that keep all multiprocessors of a large GPU busy.
pub(super) const BUSY: usize = 512;

/// Threads for a reduction of a sheet over its rows. Up to 64 rows of each thread make the results of
/// blocks few, but no fewer than a large GPU needs.
pub(super) fn reduction(rows: usize, channels: usize, width: usize) -> LaunchConfig {
    let single = sheet(rows, channels, width, 1);
    let work = rows * single.grid_dim.0 as usize;
    sheet(rows, channels, width, work.div_ceil(single.block_dim.1 as usize * BUSY).clamp(8, 64))
}

/// Blocks of [`THREADS`] threads.
pub(super) fn grid(blocks: [usize; 3]) -> LaunchConfig {
    let [x, y, z] = blocks.map(|blocks| blocks as u32);
    LaunchConfig { grid_dim: (x, y, z), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// The kernel `name`, loaded once for each device.
pub(super) fn kernel(device: &CudaDevice, name: &str) -> Result<CudaFunction> {
    #[derive(Default)]
    struct Loaded {
        modules: HashMap<usize, Arc<CudaModule>>,
        functions: HashMap<(usize, String), CudaFunction>,
    }
    static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);
    enter();
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
