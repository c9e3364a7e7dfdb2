//! Errors of this machine's files.

use std::io;
use std::path::Path;

/// Describes an error on this machine and what to do.
pub(super) fn local(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; take a folder that you may write"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}
