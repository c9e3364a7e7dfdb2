//! Reads manifests as YAML, with errors that name the file, the position and the line.

use std::path::Path;

use robustseg_files::read_text;
use robustseg_files::yaml::{self, Fault};
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The largest accepted manifest, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The longest quotation of a line in an error, in characters.
const MAX_QUOTE: usize = 100;

/// Reads the text of the file `path`.
pub(crate) fn read(path: &Path) -> Result<String> {
    read_text(path, MAX_BYTES).map_err(|fault| Error::Manifest {
        path: path.to_owned(),
        place: None,
        field: None,
        reason: fault.to_string(),
    })
}

/// Parses `text` within the limits of [`yaml::parse`]. Errors name the file `path`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T> {
    yaml::parse(text).map_err(|Fault { place, reason }| {
        let quote = place.map(|(line, _)| quoted(text, line as usize)).unwrap_or_default();
        let reason = robustseg_words::plain(reason) + &quote;
        Error::Manifest { path: path.to_owned(), place, field: None, reason }
    })
}

/// A quotation of the line `number`, from 1, as the end of a message. The parser's message often
/// lacks the wrong text.
fn quoted(text: &str, number: usize) -> String {
    let line = text.lines().nth(number.saturating_sub(1)).unwrap_or_default().trim();
    match line.char_indices().nth(MAX_QUOTE) {
        None if line.is_empty() => String::new(),
        None => format!(", in `{line}`"),
        Some((end, _)) => format!(", in `{}...`", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(result: Result<T>) -> String {
        match result {
            Err(error @ Error::Manifest { .. }) => error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("no error"),
        }
    }

    fn refusal(text: &str) -> String {
        message(parse::<Vec<Vec<String>>>(text, Path::new("m.yaml")))
    }

    #[test]
    fn documents_that_explode_are_refused_with_their_file() {
        for text in ["- []\n".repeat(50_000), "[".repeat(5000)] {
            assert!(refusal(&text).starts_with("manifest m.yaml"), "{}", refusal(&text));
        }
    }

    #[test]
    fn the_line_at_fault_is_quoted_and_long_ones_are_cut() {
        assert!(refusal("- [a]\n- three # not a list\n").ends_with(", in `- three # not a list`"));
        let long = refusal(&format!("- {}\n", "ä".repeat(500)));
        assert!(long.ends_with(&format!(", in `- {}...`", "ä".repeat(98))), "{long}");
    }

    #[test]
    fn files_that_are_large_or_not_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let message = message(read(&path));
            assert!(message.contains(name), "{message}");
            message
        };
        assert!(refused("large.yaml", &vec![b'#'; (1 << 20) + 1]).contains("larger than 1048576 bytes"));
        assert!(refused("latin.yaml", b"name: caf\xe9\n").contains("not UTF-8"));
        let path = folder.path().join("full.yaml");
        std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1 << 20);
    }
}
