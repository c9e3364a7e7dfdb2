//! YAML that people write: bounded, with errors that say where and what.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_yaml::Location;

use crate::{Error, Result};

/// Bytes that a file may have at most.
const MAX_BYTES: u64 = 1 << 20;

/// Characters of a line that an error quotes at most.
const MAX_QUOTE: usize = 100;

/// The text of the file `path`.
pub(crate) fn read(path: &Path) -> Result<String> {
    let fault = |reason| Error::Manifest { place: path.display().to_string(), reason };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| fault(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(fault(format!("is larger than {MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| fault(format!("is no UTF-8 text: {}", error.utf8_error())))
}

/// What `text` says; errors name the file `path`. Duplicate keys, YAML 1.1 booleans, and documents that grow beyond
/// what a manifest needs are refused.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T> {
    let options = serde_yaml::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_events: 20_000,
            max_nodes: 10_000,
            max_aliases: 100,
            max_anchors: 100,
            max_recorded_anchor_events: 20_000,
            max_depth: 24,
            flow_nesting_limit: 24,
            max_documents: 1,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 100,
        },
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let location = error.location().filter(|location| *location != Location::UNKNOWN);
        let place = location.map(|at| format!(":{}:{}", at.line(), at.column())).unwrap_or_default();
        let quote = location.map(|at| quoted(text, at.line() as usize)).unwrap_or_default();
        let reason = robustseg_words::plain(without_place(&error.to_string())) + &quote;
        Error::Manifest { place: format!("{}{place}", path.display()), reason }
    })
}

/// The parser's message without the place at its end, which is told by other means.
fn without_place(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let end = first.find(" at line ").unwrap_or(first.len());
    first[..end].trim_start_matches("error: ").to_owned()
}

/// The line `number`, from 1, for the end of a message: the parser's own often lacks the text that is wrong.
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
    use std::fmt::Write;

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
    fn documents_that_explode_are_refused_fast() {
        let mut bomb = String::from("- &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            writeln!(bomb, "- &a{level} [{before}]").unwrap();
        }
        // Reads as the type asks; only the budget stops it.
        let many = "- []\n".repeat(50_000);
        let aliases = format!("- &a [x]\n{}", "- *a\n".repeat(1000));
        let start = std::time::Instant::now();
        for text in [&bomb, &"[".repeat(5000), &"- ".repeat(5000), &many, &aliases] {
            assert!(refusal(text).starts_with("manifest m.yaml"), "{}", refusal(text));
        }
        assert!(start.elapsed().as_secs_f64() < 2.0);
        assert!(parse::<Vec<Vec<String>>>(&"- []\n".repeat(1000), Path::new("m.yaml")).is_ok());
    }

    #[test]
    fn the_line_at_fault_is_quoted_and_long_ones_are_cut() {
        assert!(refusal("- [a]\n- three # not a list\n").ends_with(", in `- three # not a list`"));
        let long = refusal(&format!("- {}\n", "ä".repeat(500)));
        assert!(long.ends_with(&format!(", in `- {}...`", "ä".repeat(98))), "{long}");
    }

    #[test]
    fn files_that_are_large_or_no_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let message = message(read(&path));
            assert!(message.contains(name), "{message}");
            message
        };
        assert!(refused("large.yaml", &vec![b'#'; (1 << 20) + 1]).contains("larger than 1048576 bytes"));
        assert!(refused("latin.yaml", b"name: caf\xe9\n").contains("no UTF-8"));
        let path = folder.path().join("full.yaml");
        std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1 << 20);
    }
}
