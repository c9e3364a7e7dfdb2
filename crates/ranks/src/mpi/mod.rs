//! Ranks that are processes connected by MPI.
//!
//! The library is loaded by name when [`start`] is called. Open MPI, MPICH with its relatives, and
//! MPI 5's standard binary interface are understood. They agree about functions and differ in the
//! type and the values of handles, which the file `abi.rs` lists.

#![allow(unsafe_code)]

mod abi;
mod functions;
mod world;

use crate::{Launch, Ranks, Result};

/// Connects this process with the others that the launcher started. The main thread calls it, once.
///
/// # Errors
/// [`Error::NoMpi`](crate::Error::NoMpi) if no library is found, and
/// [`Error::NotConnected`](crate::Error::NotConnected) if `launch` knows of more processes than MPI.
pub fn start(launch: &Launch) -> Result<Ranks> {
    abi::load(|library| world::start(library, launch), |library| world::start(library, launch))
}
