//! The binary interfaces of MPI, and which library has which.

use std::ffi::{c_int, c_void};
use std::path::Path;

use libloading::Library;

use super::functions::Functions;
use crate::{Error, Ranks, Result};

/// The environment variable with the file of the library.
const VARIABLE: &str = "ROBUSTSEG_MPI";

/// The names that libraries go by. The loader looks for the one of the launcher in `LD_LIBRARY_PATH`
/// and in the system's folders.
const NAMES: &[&str] = &[
    "libmpi.so.40",    // Open MPI 4 and 5
    "libmpi.so.12",    // MPICH, Intel MPI, MVAPICH
    "libmpi_abi.so.1", // MPI 5
    "libmpich.so.12",  // MPICH of Debian
    "libmpi_abi.so.0",
    "libmpi.so",
    "libmpi.dylib",
];

/// A loaded library with its functions and the values of its constants.
pub(super) struct Abi<H> {
    pub(super) functions: Functions<H>,
    pub(super) world: H,
    pub(super) float: H,
    pub(super) double: H,
    pub(super) byte: H,
    pub(super) add: H,
    /// The level at which threads may call MPI, one at a time.
    pub(super) serialised: c_int,
    /// In place of a buffer: the values to send are where the results go.
    pub(super) in_place: *const c_void,
    /// In place of a status that nobody reads.
    pub(super) no_status: *mut c_void,
}

/// A handle that is a pointer: Open MPI's and MPI 5's.
pub(super) type Pointer = *mut c_void;

/// A pointer that is a number.
fn pointer(value: usize) -> Pointer {
    std::ptr::without_provenance_mut(value)
}

/// Loads MPI, and calls the function for its type of handles.
pub(super) fn load(
    with_pointers: impl FnOnce(Abi<Pointer>) -> Result<Ranks>,
    with_numbers: impl FnOnce(Abi<c_int>) -> Result<Ranks>,
) -> Result<Ranks> {
    let (library, name) = open()?;
    // SAFETY: looking a symbol up runs no code, and only its address is used.
    let is_open_mpi = unsafe { library.get::<Pointer>(b"ompi_mpi_comm_world") }.is_ok();
    if is_standard(&name) {
        // SAFETY: the library is named after the interface of MPI 5.
        with_pointers(unsafe { standard(library) }?)
    } else if is_open_mpi {
        // SAFETY: Open MPI alone has this symbol.
        with_pointers(unsafe { open_mpi(library) }?)
    } else {
        // SAFETY: the others have MPICH's interface, on which its relatives have agreed.
        with_numbers(unsafe { mpich(library) }?)
    }
}

/// Opens the library that the environment names, or the first of [`NAMES`] that is there.
fn open() -> Result<(&'static Library, String)> {
    let given = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    let names: Vec<&str> = given.as_deref().map_or_else(|| NAMES.to_vec(), |name| vec![name]);
    let mut reasons = Vec::new();
    for name in names {
        match open_one(name) {
            // MPI does not survive being unloaded.
            Ok(library) => return Ok((Box::leak(Box::new(library)), name.to_owned())),
            Err(error) => reasons.push(format!("{name}: {error}")),
        }
    }
    Err(Error::NoMpi(if given.is_some() { reasons.join("; ") } else { NAMES.join(", ") }))
}

/// Opens a library so that the plugins that it loads itself find its symbols.
fn open_one(name: &str) -> std::result::Result<Library, libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix;
        // SAFETY: a library of MPI runs only its own initialisation when it is loaded.
        unsafe { unix::Library::open(Some(name), unix::RTLD_NOW | unix::RTLD_GLOBAL) }.map(Into::into)
    }
    #[cfg(not(unix))]
    {
        // SAFETY: as above.
        unsafe { Library::new(name) }
    }
}

/// Whether the file `name` has MPI 5's interface. The standard prescribes the name, and MPICH's
/// library of its own interface has the same symbols.
fn is_standard(name: &str) -> bool {
    let file = Path::new(name).file_name().unwrap_or_default();
    file.to_string_lossy().starts_with("libmpi_abi.")
}

/// Open MPI: handles are the addresses of its variables.
///
/// # Safety
/// `library` is Open MPI.
unsafe fn open_mpi(library: &'static Library) -> Result<Abi<Pointer>> {
    let address = |name: &str| {
        // SAFETY: only the address of the variable is used.
        let found = unsafe { library.get::<Pointer>(name.as_bytes()).map(|found| found.try_as_raw_ptr()) };
        found.map_err(|error| Error::NoMpi(error.to_string()))?.ok_or_else(|| Error::NoMpi(name.into()))
    };
    Ok(Abi {
        // SAFETY: handles of Open MPI are pointers.
        functions: unsafe { Functions::of(library) }?,
        world: address("ompi_mpi_comm_world")?,
        float: address("ompi_mpi_float")?,
        double: address("ompi_mpi_double")?,
        byte: address("ompi_mpi_byte")?,
        add: address("ompi_mpi_op_sum")?,
        serialised: 2,
        in_place: pointer(1),
        no_status: pointer(0),
    })
}

/// The interface of MPI 5: handles are pointers with the values of its appendix A.
///
/// # Safety
/// `library` has this interface.
unsafe fn standard(library: &'static Library) -> Result<Abi<Pointer>> {
    Ok(Abi {
        // SAFETY: handles are pointers.
        functions: unsafe { Functions::of(library) }?,
        world: pointer(0x101),
        float: pointer(0x210),
        double: pointer(0x214),
        byte: pointer(0x247),
        add: pointer(0x21),
        serialised: 2048,
        in_place: pointer(1),
        no_status: pointer(0),
    })
}

/// MPICH, Intel MPI and MVAPICH: handles are numbers.
///
/// # Safety
/// `library` has this interface.
unsafe fn mpich(library: &'static Library) -> Result<Abi<c_int>> {
    Ok(Abi {
        // SAFETY: handles are numbers.
        functions: unsafe { Functions::of(library) }?,
        world: 0x4400_0000,
        float: 0x4c00_040a,
        double: 0x4c00_080b,
        byte: 0x4c00_010d,
        add: 0x5800_0003,
        serialised: 2,
        in_place: pointer(usize::MAX),
        no_status: pointer(1),
    })
}
