//! Numbers as people write them: `0.03`, `1e-2`, and fractions such as `8/255`.

/// The form of a fraction, as a regular expression.
pub(crate) const FRACTION: &str =
    r"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*/\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*$";

/// Parses `text` as a number. A fraction is the exact quotient of its two numbers, rounded once.
///
/// # Errors
/// The expected form, as the end of a message.
pub(crate) fn parse(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse().ok().filter(|value: &f64| value.is_finite());
    let value = match text.split_once('/') {
        Some((above, below)) => number(above).zip(number(below)).map(|(above, below)| above / below),
        None => number(text),
    };
    value
        .filter(|value| value.is_finite())
        .ok_or_else(|| "expected a number such as 0.03, or a fraction such as 8/255".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_quotients_and_other_text_is_refused() {
        assert_eq!(parse("8/255"), Ok(8.0 / 255.0));
        assert_eq!(parse(" 0.5 / 255 "), Ok(0.5 / 255.0));
        assert_eq!(parse("-1e-2"), Ok(-0.01));
        for text in
            ["", "/", "8/", "/255", "8/0", "0/0", "8/255/2", "ten", "8:255", "nan", "inf", "1/nan", "1/inf"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
