//! Protocols as options of the command line, in the words of a spec.

use robustseg_evaluation::{Error, Protocol};

use crate::spec::read_value;

/// Parses a protocol: its name, or a map from its name to its settings.
pub(crate) fn parse(text: &str) -> Result<Protocol, String> {
    let protocol: Protocol = read_value(text)?;
    match protocol.validate() {
        Err(Error::Setting { field, reason }) => Err(format!("{field}: {reason}")),
        checked => checked.map(|()| protocol).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use robustseg_evaluation::{MultiScale, Semseg};

    #[test]
    fn protocols_are_named_as_in_a_spec() {
        assert_eq!(parse("whole_image"), Ok(Protocol::WholeImage));
        assert_eq!(parse("multi_scale"), Ok(Protocol::MultiScale(MultiScale::default())));
        let cityscapes = Semseg { long_side: 2048, crop: 713, ..Semseg::default() };
        assert_eq!(parse("{semseg: {long_side: 2048, crop: 713}}"), Ok(Protocol::Semseg(cityscapes)));
        for (wrong, part) in [
            ("semsek", "semseg"),
            ("{semseg: {crops: 3}}", "crop"),
            ("{semseg: {crop: 0}}", "protocol.semseg.crop: found 0"),
            ("{multi_scale: {scales: []}}", "at least one scale"),
            ("{semseg", "bracket"),
            ("", "one of"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
