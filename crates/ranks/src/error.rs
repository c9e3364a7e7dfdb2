//! The errors of this crate.

/// What goes wrong between ranks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no MPI to load, or it lacks a function.
    #[error(
        "no MPI is found ({0}); install Open MPI or MPICH, or name the file of its library in ROBUSTSEG_MPI"
    )]
    NoMpi(String),
    /// The launcher started several processes, but MPI knows of one alone.
    #[error(
        "the launcher started {launched} processes, but MPI ({library}) connects only {connected} of them; start them \
         with the mpirun of that MPI, or with srun --mpi=pmix"
    )]
    NotConnected {
        /// The number of processes according to the launcher's variables.
        launched: usize,
        /// The number that MPI connects.
        connected: usize,
        /// The name of the MPI library.
        library: String,
    },
    /// A call of MPI failed.
    #[error("{function} of MPI failed with code {code}")]
    Call {
        /// The function.
        function: &'static str,
        /// MPI's error code.
        code: i32,
    },
    /// Another rank is gone.
    #[error("another process of this run has ended")]
    Gone,
    /// The ranks disagree about the number of values.
    #[error("the processes of this run disagree: one has {own} values, another {other}")]
    Disagreement {
        /// Values of this rank.
        own: usize,
        /// Values of another.
        other: usize,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
