//! Whether anything about a dataset's files has changed, without reading them.

use std::path::Path;
use std::time::UNIX_EPOCH;

use robustseg_files::Sha256;

use crate::{Dataset, Error, Manifest, Result};

/// Another one for every change of what a check looks at.
const CHECKS: &[u8] = b"2";

/// A hash of all that a [`check`](crate::check) depends on but the files' contents: this crate's version, the manifest,
/// the folder, and for each sample the paths, sizes, times of change and, where there are any, inodes of its files. Equal
/// fingerprints mean that a check would find the same again, unless somebody changed a file and hid it.
///
/// # Errors
/// If the dataset or one of its lists is missing or malformed, as in a check.
pub fn fingerprint(manifest: &Manifest, root: &Path) -> Result<String> {
    let text = serde_yaml::to_string(manifest).map_err(|error| Error::Manifest {
        path: manifest.path().to_owned(),
        place: None,
        field: None,
        reason: format!("cannot be written: {error}"),
    })?;
    let root_path = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let mut hash = Sha256::new();
    // Each part is followed by a byte that no path or text has, so that no two lists of parts are alike.
    let mut add = |part: &[u8]| {
        hash.update(part);
        hash.update([0]);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(CHECKS);
    add(text.as_bytes());
    add(root_path.as_os_str().as_encoded_bytes());
    for split in manifest.split_names() {
        let (dataset, _) = Dataset::find(manifest, root, split)?;
        add(split.as_bytes());
        for index in 0..dataset.len() {
            add(dataset.id(index).as_bytes());
            for path in dataset.files(index) {
                add(path.as_os_str().as_encoded_bytes());
                add(stamp(path).as_bytes());
            }
        }
    }
    Ok(hash.hexadecimal())
}

/// Size and times of a file, and which one it is.
fn stamp(path: &Path) -> String {
    let Ok(found) = std::fs::metadata(path) else { return "none".into() };
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let stamp = format!("{} {:?}", found.len(), modified);
    #[cfg(unix)]
    let stamp = {
        use std::os::unix::fs::MetadataExt;
        // The time of change of the inode, which no program sets back.
        format!("{stamp} {} {} {}.{}", found.dev(), found.ino(), found.ctime(), found.ctime_nsec())
    };
    stamp
}
