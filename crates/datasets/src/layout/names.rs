//! Names of files in folders.

use std::path::Path;

use crate::error::{Error, Result};

/// The names in a folder, sorted, without files that operating systems create.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let fault = |source| Error::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !is_clutter(name));
    names.sort_unstable();
    Ok(names)
}

/// Whether operating systems create files of this name in folders: `.DS_Store` on macOS and, on
/// foreign disks, `._NAME` next to each NAME; `Thumbs.db` and `desktop.ini` on Windows.
pub(crate) fn is_clutter(name: &str) -> bool {
    name.starts_with('.') || ["thumbs.db", "desktop.ini"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// `name` without `suffix`, ignoring case. `None` if it has another ending.
pub(super) fn strip_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (id, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(id)
}
