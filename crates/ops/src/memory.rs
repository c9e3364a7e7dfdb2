//! What the process does with memory that it no longer uses.

/// Keeps freed memory for the next tensor instead of giving it back to the system. Call it once, before any tensor is made.
///
/// Every pass over a network makes and frees tensors of megabytes. By default the C library asks the system for each of them
/// and gives it back at once; the pages of the next one are then fetched, and cleared, one by one, which took a quarter of a
/// training step and a third of an attack's gradient. The price: what the process once had, it keeps until it ends. It
/// affects the whole process, so a program decides about it, not this crate. Only for the GNU C library; elsewhere it does
/// nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    {
        // SAFETY: `mallopt` has no preconditions; a value that it does not like leaves the former one.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        }
    }
}
