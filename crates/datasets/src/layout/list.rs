//! Lists of samples, one a line.

use std::collections::HashSet;
use std::path::Path;

use crate::layout::Files;
use crate::{Error, Result};

/// The samples of the list at `path`: `parse` makes one of a line's words. Blank lines are left out.
pub(super) fn read(
    path: &Path,
    parse: impl Fn(&[&str]) -> std::result::Result<Files, String>,
) -> Result<Vec<Files>> {
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
        if !seen.insert(sample.id.clone()) {
            return Err(fault(format!("`{}` stands there a second time", sample.id)));
        }
        samples.push(sample);
    }
    Ok(samples)
}
