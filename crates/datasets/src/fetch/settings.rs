//! The settings and the progress of downloads.

use std::path::PathBuf;
use std::time::Duration;

/// Settings for downloading and unpacking.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Timeout for a connection, a response, and each further piece of it.
    pub timeout: Duration,
    /// Consecutive attempts without progress before giving up, at least 1.
    pub attempts: u32,
    /// Pause after the first of several consecutive failures. It doubles with each further failure.
    pub pause: Duration,
    /// Maximum size of an unpacked archive in bytes.
    pub max_bytes: u64,
    /// Maximum number of files and folders in an archive.
    pub max_entries: u64,
    /// A file of root certificates (PEM) to trust instead of Mozilla's. The default is the file
    /// named by `SSL_CERT_FILE`.
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

/// The stage of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStage {
    /// An archive is being downloaded.
    Downloading,
    /// Its checksum is being computed.
    Verifying,
    /// It is being unpacked.
    Unpacking,
}

/// The progress of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    /// The present stage.
    pub stage: FetchStage,
    /// Bytes of the archive done so far.
    pub done: u64,
    /// Bytes of the archive, or 0 if unknown.
    pub total: u64,
}
