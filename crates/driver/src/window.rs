//! Windows as options of the command line, in the words of a spec.

use robustseg_evaluation::{Error, Window};

/// The accepted forms.
const FORMS: &str = "`whole`, `sliding:SIZE:STRIDE` or `center_crop:SIZE`, in pixels";

/// Parses a window. The stride of a sliding window defaults to half of its size.
pub(crate) fn parse(text: &str) -> Result<Window, String> {
    let pixels = |text: &str| {
        text.parse::<usize>().map_err(|_| format!("`{text}` is no number of pixels; give {FORMS}"))
    };
    let window = match text.split(':').collect::<Vec<_>>()[..] {
        ["whole"] => Window::Whole,
        ["center_crop", size] => Window::CenterCrop { size: pixels(size)? },
        ["sliding", size] => {
            let size = pixels(size)?;
            Window::Sliding { size, stride: size.div_ceil(2) }
        }
        ["sliding", size, stride] => Window::Sliding { size: pixels(size)?, stride: pixels(stride)? },
        _ => return Err(format!("give {FORMS}")),
    };
    match window.validate() {
        Err(Error::Setting { reason, .. }) => Err(reason),
        checked => checked.map(|()| window).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_named_as_in_a_spec() {
        assert_eq!(parse("whole"), Ok(Window::Whole));
        assert_eq!(parse("center_crop:8"), Ok(Window::CenterCrop { size: 8 }));
        assert_eq!(parse("sliding:8:3"), Ok(Window::Sliding { size: 8, stride: 3 }));
        assert_eq!(parse("sliding:9"), Ok(Window::Sliding { size: 9, stride: 5 }));
        for (wrong, part) in [
            ("", "sliding:SIZE"),
            ("crop:8", "center_crop:SIZE"),
            ("sliding", "SIZE"),
            ("sliding:8:3:1", "SIZE"),
            ("sliding:x", "`x` is no number"),
            ("sliding:-8", "`-8` is no number"),
            ("sliding:8:9", "gaps"),
            ("sliding:0", "at least 1"),
            ("center_crop:0", "at least 1"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
