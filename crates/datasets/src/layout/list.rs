//! Lists of samples, one per line.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{Error, Result};

/// The ids in the list at `path`, one word per line. Skips blank lines.
pub(super) fn ids(path: &Path) -> Result<Vec<String>> {
    let id = |line: &str| match line.split_whitespace().count() {
        1 => Ok(line.to_owned()),
        words => Err(format!("expected one id, found {words} words")),
    };
    read(path, id, String::as_str)
}

/// The lines of the list at `path`, trimmed. Skips blank lines.
pub(super) fn lines(path: &Path) -> Result<Vec<String>> {
    read(path, |line| Ok(line.to_owned()), String::as_str)
}

/// The samples in the list at `path`. `parse` makes a sample of each line, and `id` gives its id.
/// Skips blank lines.
pub(super) fn read<T>(
    path: &Path,
    parse: impl Fn(&str) -> std::result::Result<T, String>,
    id: impl Fn(&T) -> &str,
) -> Result<Vec<T>> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let mut seen = HashSet::new();
    let mut samples = Vec::new();
    for (line, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let fault = |reason| Error::List { path: path.to_owned(), line: line + 1, reason };
        let sample = parse(text).map_err(fault)?;
        if !seen.insert(id(&sample).to_owned()) {
            return Err(fault(format!("`{}` stands there a second time", id(&sample))));
        }
        samples.push(sample);
    }
    Ok(samples)
}
