//! Lists of samples, one a line.

use std::collections::HashSet;
use std::path::Path;

use crate::{Error, Result};

/// The ids of the list at `path`, one a line. Blank lines are left out.
pub(super) fn ids(path: &Path) -> Result<Vec<String>> {
    let id = |words: &[&str]| match words {
        [id] => Ok((*id).to_owned()),
        _ => Err(format!("expected one id, found {} words", words.len())),
    };
    read(path, id, String::as_str)
}

/// The samples of the list at `path`: `parse` makes one of a line's words, `id` names it. Blank lines are left out.
pub(super) fn read<T>(
    path: &Path,
    parse: impl Fn(&[&str]) -> std::result::Result<T, String>,
    id: impl Fn(&T) -> &str,
) -> Result<Vec<T>> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let mut seen = HashSet::new();
    let mut samples = Vec::new();
    for (line, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let fault = |reason| Error::List { path: path.to_owned(), line: line + 1, reason };
        let sample = parse(&words).map_err(fault)?;
        if !seen.insert(id(&sample).to_owned()) {
            return Err(fault(format!("`{}` stands there a second time", id(&sample))));
        }
        samples.push(sample);
    }
    Ok(samples)
}
