//! JSON files of a run directory.

use std::io::ErrorKind;
use std::path::Path;

use robustseg_words::plain;
use serde::de::DeserializeOwned;

use crate::exit::BadData;

/// Reads the JSON file at `path`. `None` if the file does not exist.
///
/// # Errors
/// If the file cannot be read or is not a `T`; the error names it.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BadData> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| refuse(format!("is not what robustseg writes ({})", plain(error)))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(refuse(format!("cannot be read: {error}"))),
    }
}
