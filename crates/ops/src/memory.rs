//! Memory: the allocator's treatment of what is freed, and errors for want of it.

/// Keeps freed memory for the next tensor instead of returning it to the system. Call it once,
/// before creating tensors.
///
/// Every run of a network creates and frees tensors of megabytes. By default the C library requests
/// each of them from the system and returns it at once. The system then maps and clears the pages
/// of the next tensor one by one, which took a quarter of a training step and a third of an
/// attack's gradient. In return, the process keeps its peak memory until it ends. Because this
/// affects the whole process, the program decides about it, not this crate. It works with the GNU C
/// library and does nothing elsewhere.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    {
        // SAFETY: `mallopt` has no preconditions. If it rejects a value, the old one stays.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
            // What one thread has freed serves all.
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Whether `error` says that a GPU has run out of memory. On the CPU an allocation that fails ends the
/// process instead.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn is_out_of_memory(error: &candle_core::Error) -> bool {
    #[cfg(feature = "cuda")]
    return crate::cuda::memory::is_out_of_memory(error);
    #[cfg(not(feature = "cuda"))]
    return false;
}
