//! Detects changes of a dataset's files without reading them.

use std::path::Path;
use std::time::UNIX_EPOCH;

use robustseg_files::Sha256;

use crate::{Dataset, Error, Manifest, Result};

/// Changes whenever a check examines something new.
const CHECKS: &[u8] = b"2";

/// A hash of everything that a [`check`](crate::check) depends on, except the files' contents: this
/// crate's version, the manifest, the folder, and for each sample the paths, sizes, change times
/// and, if available, inodes of its files. Equal fingerprints mean that a check would have the same
/// result, unless a file was changed and the change concealed.
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
    // Each part is followed by a byte that no path or text contains, so that different lists of
    // parts never look alike.
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

/// Size, times and identity of a file.
fn stamp(path: &Path) -> String {
    let Ok(found) = std::fs::metadata(path) else { return "none".into() };
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let stamp = format!("{} {:?}", found.len(), modified);
    #[cfg(unix)]
    let stamp = {
        use std::os::unix::fs::MetadataExt;
        // The change time of the inode, which programs cannot set back.
        format!("{stamp} {} {} {}.{}", found.dev(), found.ino(), found.ctime(), found.ctime_nsec())
    };
    stamp
}
