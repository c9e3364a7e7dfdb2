//! Several processes that compute one result.
//!
//! A rank is one of these processes. A [`Communicator`] is a rank's connection to the others: it adds
//! up numbers, hands bytes around, and ends all ranks together. There are three: [`Solo`] for the one
//! process of an ordinary run, [`threads`] for ranks that are threads of a test, and [`mpi`] for
//! processes that `mpirun` or `srun` started.
//!
//! All ranks call the same operations in the same order. An operation returns when every rank has
//! called it, or fails when one of them is gone. Sums are the same on all ranks, bit for bit.
//!
//! MPI is loaded when a program asks for it, so one binary serves machines with and without it. This
//! takes unsafe code, in the folder `mpi` alone.
//!
//! ```
//! use robustseg_ranks::{Communicator, threads};
//!
//! let ranks = threads(3).into_iter().map(|rank| {
//!     std::thread::spawn(move || {
//!         let mut sum = [rank.rank() as f64, 1.0];
//!         rank.sum_f64(&mut sum).expect("all ranks are there");
//!         sum
//!     })
//! });
//! let sums: Vec<[f64; 2]> = ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect();
//! assert_eq!(sums, [[3.0, 3.0]; 3]);
//! ```

mod bytes;
mod communicator;
mod error;
mod launch;
pub mod mpi;
mod solo;
mod threads;

pub use bytes::{from_bytes, to_bytes};
pub use communicator::{Communicator, Pending, Ranks};
pub use error::{Error, Result};
pub use launch::Launch;
pub use solo::Solo;
pub use threads::{Thread, threads};
