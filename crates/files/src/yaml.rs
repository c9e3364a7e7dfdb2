//! YAML written by people, in documents of limited expansion.
//!
//! Refused are duplicate keys, the booleans of YAML 1.1 (`yes`, `off`), a second document, and
//! documents that expand far beyond a spec or a manifest.
//!
//! ```
//! use robustseg_files::yaml::parse;
//!
//! let numbers: Vec<f64> = parse("[1, 2.5]").unwrap();
//! assert_eq!(numbers, [1.0, 2.5]);
//! let fault = parse::<Vec<f64>>("[1,\n x]").unwrap_err();
//! assert_eq!(fault.place, Some((2, 2)));
//! ```

use serde::de::DeserializeOwned;
use serde_yaml::Location;
use serde_yaml::options::NonFiniteFloatPolicy;

/// Why a text is not the expected YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line and column, both from 1, if the parser knows them.
    pub place: Option<(u64, u64)>,
    /// The parser's message without the position.
    pub reason: String,
}

/// Parses `text` as a `T`.
///
/// # Errors
/// The first fault that the parser or `T` finds.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let options = serde_yaml::options! {
        strict_booleans: true,
        // The type decides whether `.inf` and `.nan` are errors, and its message names the key.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
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
        let place = location.map(|at| (at.line(), at.column()));
        Fault { place, reason: without_place(&error.to_string()) }
    })
}

/// The parser's message without the position at its end, which [`Fault`] stores as numbers.
fn without_place(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let end = first.find(" at line ").unwrap_or(first.len());
    first[..end].trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn refused(text: &str) -> bool {
        parse::<Vec<Vec<String>>>(text).is_err()
    }

    #[test]
    fn documents_that_explode_are_refused_fast() {
        let mut bomb = String::from("- &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            writeln!(bomb, "- &a{level} [{before}]").unwrap();
        }
        // The type accepts these, so only the limit stops them.
        let many = "- []\n".repeat(50_000);
        let aliases = format!("- &a [x]\n{}", "- *a\n".repeat(1000));
        let start = std::time::Instant::now();
        for text in [&bomb, &"[".repeat(5000), &"- ".repeat(5000), &many, &aliases] {
            assert!(refused(text));
        }
        assert!(start.elapsed().as_secs_f64() < 2.0);
        assert!(!refused(&"- []\n".repeat(1000)));
    }

    #[test]
    fn a_fault_has_its_place_apart_from_its_reason() {
        let fault = parse::<Vec<u8>>("- 1\n- x\n").unwrap_err();
        assert_eq!(fault.place, Some((2, 3)));
        assert!(!fault.reason.contains(" at line ") && !fault.reason.contains('\n'), "{}", fault.reason);
    }
}
