//! The names in folders.

use std::path::Path;

use crate::error::{Error, Result};

/// The names in a folder, sorted, without those that operating systems leave there.
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

/// Whether an operating system leaves files of this name in folders: macOS `.DS_Store` and, on
/// foreign disks, `._NAME` next to each NAME; Windows `Thumbs.db` and `desktop.ini`.
fn is_clutter(name: &str) -> bool {
    name.starts_with('.') || ["thumbs.db", "desktop.ini"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// `name` without `suffix`, in small or capital letters. `None` if it ends otherwise.
pub(super) fn strip_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (id, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(id)
}
