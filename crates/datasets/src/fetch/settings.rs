//! How datasets are fetched, and what is told meanwhile.

use std::path::PathBuf;
use std::time::Duration;

/// How to download and unpack.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// How long to wait for a connection, an answer, and each further piece of it.
    pub timeout: Duration,
    /// How often to try in a row without a byte of progress, at least once.
    pub attempts: u32,
    /// Pause behind the first failure in a row; it doubles with each further one.
    pub pause: Duration,
    /// Bytes that an archive may unpack to.
    pub max_bytes: u64,
    /// Files and folders that an archive may hold.
    pub max_entries: u64,
    /// A file of root certificates (PEM) to trust in place of Mozilla's; by default the one that
    /// `SSL_CERT_FILE` names.
    pub certificates: Option<PathBuf>,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 6,
            pause: Duration::from_secs(1),
            max_bytes: 1 << 36,
            max_entries: 2_000_000,
            certificates: robustseg_trust::certificate_file(),
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStage {
    /// An archive comes through the network.
    Downloading,
    /// Its checksum is computed.
    Verifying,
    /// It is unpacked.
    Unpacking,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    /// What is being done.
    pub stage: FetchStage,
    /// Bytes of the archive that are done.
    pub done: u64,
    /// Bytes of the archive; 0 where nobody knows.
    pub total: u64,
}
