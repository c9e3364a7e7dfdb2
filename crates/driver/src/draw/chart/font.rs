//! The size of words in charts.

use crate::draw::drawing::text_width;

/// Size of names and numbers, in pixels. A phone 390 pixels wide shows those of a narrow chart with
/// more than 11.
pub(super) const FONT: f64 = 14.5;

/// The width of `text` in a browser, whose font may be wider than Helvetica.
pub(super) fn words(text: &str, size: f64) -> f64 {
    1.14 * text_width(text, size)
}

/// `text` in lines of at most `width` pixels, where words allow it.
pub(super) fn wrapped(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if words(&format!("{line} {word}"), size) <= width => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_titles_are_broken_between_words() {
        assert_eq!(wrapped("one two", 10.0, 500.0), ["one two"]);
        let lines = wrapped("one two three incomprehensibilities", 10.0, 50.0);
        assert_eq!(lines, ["one two", "three", "incomprehensibilities"]);
        assert!(wrapped("", 10.0, 50.0).is_empty());
    }
}
