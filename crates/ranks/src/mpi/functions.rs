//! The functions of MPI that ranks need.

use std::ffi::{c_char, c_int, c_void};

use libloading::Library;

use crate::{Error, Result};

/// Functions, for handles of the type `H`: communicators, types of elements, operations, requests.
#[derive(Clone, Copy)]
pub(super) struct Functions<H> {
    pub(super) initialise: unsafe extern "C" fn(*mut c_int, *mut c_void, c_int, *mut c_int) -> c_int,
    pub(super) rank: unsafe extern "C" fn(H, *mut c_int) -> c_int,
    pub(super) size: unsafe extern "C" fn(H, *mut c_int) -> c_int,
    pub(super) duplicate: unsafe extern "C" fn(H, *mut H) -> c_int,
    pub(super) sum: unsafe extern "C" fn(*const c_void, *mut c_void, c_int, H, H, H) -> c_int,
    pub(super) start_sum: unsafe extern "C" fn(*const c_void, *mut c_void, c_int, H, H, H, *mut H) -> c_int,
    pub(super) gather:
        unsafe extern "C" fn(*const c_void, c_int, H, *mut c_void, *const c_int, *const c_int, H, H) -> c_int,
    pub(super) test: unsafe extern "C" fn(*mut H, *mut c_int, *mut c_void) -> c_int,
    pub(super) wait: unsafe extern "C" fn(*mut H, *mut c_void) -> c_int,
    pub(super) abort: unsafe extern "C" fn(H, c_int) -> c_int,
    pub(super) finalise: unsafe extern "C" fn() -> c_int,
    pub(super) version: unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int,
}

impl<H: Copy> Functions<H> {
    /// The functions of `library`.
    ///
    /// # Safety
    /// `library` is an MPI whose handles have the type `H`.
    pub(super) unsafe fn of(library: &Library) -> Result<Self> {
        /// The address of a function. Its field decides the type.
        unsafe fn get<F: Copy>(library: &Library, name: &str) -> Result<F> {
            // SAFETY: `name` is a function of MPI, whose signature the caller's type repeats.
            let found = unsafe { library.get::<F>(name.as_bytes()) };
            found.map(|function| *function).map_err(|error| Error::NoMpi(error.to_string()))
        }
        // SAFETY: the fields have the signatures of MPI's standard, with its handles as `H`.
        unsafe {
            Ok(Self {
                initialise: get(library, "MPI_Init_thread")?,
                rank: get(library, "MPI_Comm_rank")?,
                size: get(library, "MPI_Comm_size")?,
                duplicate: get(library, "MPI_Comm_dup")?,
                sum: get(library, "MPI_Allreduce")?,
                start_sum: get(library, "MPI_Iallreduce")?,
                gather: get(library, "MPI_Allgatherv")?,
                test: get(library, "MPI_Test")?,
                wait: get(library, "MPI_Wait")?,
                abort: get(library, "MPI_Abort")?,
                finalise: get(library, "MPI_Finalize")?,
                version: get(library, "MPI_Get_library_version")?,
            })
        }
    }
}
