//! The switch that leaves out ways to use a GPU's libraries, should one of them fail on some GPU.

use std::sync::OnceLock;

/// Whether the environment variable `ROBUSTSEG_GPU_WITHOUT`, a list with commas between, does not
/// name `way`: `cublaslt`, `graph`, `padding`, `folding` (of norms into convolutions), `cuda_graphs` or `nccl`.
pub(super) fn allowed(way: &str) -> bool {
    static LEFT_OUT: OnceLock<Vec<String>> = OnceLock::new();
    let left_out = LEFT_OUT.get_or_init(|| {
        let list = std::env::var("ROBUSTSEG_GPU_WITHOUT").unwrap_or_default();
        list.split(',').map(|way| way.trim().to_owned()).collect()
    });
    !left_out.iter().any(|left_out| left_out == way)
}
