//! The wording of messages and results: counts with their nouns, and errors of `serde` without
//! Rust's types.

use std::fmt::Display;

/// `count` with its noun: `1 epoch`, `3 epochs`, `0 classes`.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let ending = match noun {
        _ if count == N::from(1) => "",
        noun if noun.ends_with('s') || noun.ends_with("tch") => "es",
        _ => "s",
    };
    format!("{count} {noun}{ending}")
}

/// Rewords a message of `serde`, or of a parser with similar messages, for users who do not know
/// Rust.
///
/// ```
/// let error = "invalid type: string \"ten\", expected usize at line 2 column 9";
/// assert_eq!(
///     robustseg_words::plain(error),
///     "expected a whole number, 0 or more, found string \"ten\" at line 2 column 9"
/// );
/// ```
pub fn plain(error: impl Display) -> String {
    let message = error.to_string();
    let (message, place) = message.rfind(" at line ").map_or((&*message, ""), |end| message.split_at(end));
    let kinds = ["invalid type: ", "invalid value: "];
    let wrong = kinds.iter().find_map(|kind| message.strip_prefix(kind)?.rsplit_once(", expected "));
    let length = message.strip_prefix("invalid length ").and_then(|rest| rest.split_once(", expected "));
    let told = if let Some((unexpected, wanted)) = wrong {
        format!("expected {}, found {}", expected(wanted), found(unexpected))
    } else if let Some((length, wanted)) = length {
        format!("expected {}, found {length}", expected(wanted))
    } else if let Some(scalar) = message.strip_prefix("invalid ").filter(|word| expected(word) != *word) {
        format!("expected {}", expected(scalar))
    } else if let Some(field) = message.strip_prefix("missing field ") {
        format!("key {field} is missing")
    } else if let Some(rest) = message.strip_prefix("unknown field ") {
        format!("unknown key {rest}")
    } else if let Some(rest) = message.strip_prefix("unknown variant ") {
        format!("unknown choice {rest}")
    } else {
        message.to_owned()
    };
    told + place
}

/// A type of `serde` in plain words: `usize` is a whole number, a `path string` a path.
pub fn expected(wanted: &str) -> String {
    match wanted {
        "u8" => "a whole number from 0 to 255".into(),
        "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number".into(),
        "f32" | "f64" | "floating point" => "a number".into(),
        "bool" | "a boolean" | "boolean" => "true or false".into(),
        "a string" | "string" | "a borrowed string" => "text".into(),
        "path string" | "a borrowed path" => "a path".into(),
        "a sequence" => "a list".into(),
        "unit" => "nothing".into(),
        _ => composed(wanted).unwrap_or_else(|| wanted.to_owned()),
    }
}

fn composed(wanted: &str) -> Option<String> {
    for list in ["an array of length ", "a tuple of size "] {
        if let Some(length) = wanted.strip_prefix(list) {
            return Some(format!("a list of {length}"));
        }
    }
    let map = ["struct ", "tuple struct ", "struct variant "].iter().any(|kind| wanted.starts_with(kind));
    map.then(|| "a map of keys and values".into())
}

/// A value as `serde` describes it, in plain words.
pub fn found(unexpected: &str) -> String {
    let number = unexpected.strip_prefix("floating point ").map(|value| format!("number {value}"));
    match unexpected {
        "sequence" => "a list".into(),
        "map" => "a map".into(),
        "unit value" | "null" => "nothing".into(),
        _ => number.unwrap_or_else(|| unexpected.to_owned()),
    }
}

/// The message for a key `found` that is not among the `known` ones, with a guess if one of them is
/// similar.
///
/// ```
/// let message = robustseg_words::unknown_key("epoch", &["epochs", "power"]);
/// assert_eq!(message, "unknown key `epoch`; did you mean `epochs`?");
/// ```
pub fn unknown_key(found: &str, known: &[&str]) -> String {
    format!("unknown key `{found}`; {}", nearest(found, known))
}

/// Suggests the most similar of `known` as a question, or lists all of them if none is similar.
pub fn nearest(found: &str, known: &[&str]) -> String {
    let distance = |name: &&&str| strsim::damerau_levenshtein(found, name);
    let near = known.iter().min_by_key(distance);
    let guess = near.filter(|name| distance(name) <= (found.len().max(name.len()) / 3).max(1));
    let contained = || known.iter().find(|name| !found.is_empty() && name.contains(found));
    match (guess.or_else(contained), known) {
        (_, []) => "none is expected here".into(),
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, _) => format!("expected one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_agree_with_their_counts() {
        assert_eq!(counted(1_usize, "epoch"), "1 epoch");
        assert_eq!(counted(0_u64, "epoch"), "0 epochs");
        assert_eq!(counted(2_u64, "class"), "2 classes");
        assert_eq!(counted(3_usize, "batch"), "3 batches");
        assert_eq!(counted(2_usize, "image"), "2 images");
    }

    #[test]
    fn messages_name_no_types_of_rust() {
        for (message, told) in [
            ("invalid type: map, expected usize", "expected a whole number, 0 or more, found a map"),
            (
                "invalid type: string \"x, expected y\", expected f64",
                "expected a number, found string \"x, expected y\"",
            ),
            (
                "invalid value: integer `300`, expected u8",
                "expected a whole number from 0 to 255, found integer `300`",
            ),
            ("invalid type: sequence, expected path string", "expected a path, found a list"),
            (
                "invalid type: floating point `1.5`, expected u64",
                "expected a whole number, 0 or more, found number `1.5`",
            ),
            (
                "invalid type: unit value, expected struct Spec",
                "expected a map of keys and values, found nothing",
            ),
            ("invalid length 2, expected an array of length 3", "expected a list of 3, found 2"),
            ("invalid u64", "expected a whole number, 0 or more"),
            ("invalid indentation", "invalid indentation"),
            ("missing field `width` at line 1 column 2", "key `width` is missing at line 1 column 2"),
            ("unknown field `x`, expected `y`", "unknown key `x`, expected `y`"),
            ("EOF while parsing a value at line 1 column 0", "EOF while parsing a value at line 1 column 0"),
        ] {
            assert_eq!(plain(message), told);
        }
    }

    #[test]
    fn the_nearest_key_is_named_and_else_all() {
        assert_eq!(nearest("epoch", &["epochs", "power"]), "did you mean `epochs`?");
        assert_eq!(nearest("lr", &["epochs", "power"]), "expected one of epochs, power");
        assert_eq!(nearest("size", &["epochs", "batch_size"]), "did you mean `batch_size`?");
        assert_eq!(nearest("lr", &[]), "none is expected here");
    }
}
