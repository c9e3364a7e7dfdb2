//! Links from a comparison to the reports of its runs.

use std::fmt::Write as _;
use std::path::{Component, Path};

/// The address of the file `to` for a page in the folder `from`: a relative one, in which characters
/// other than letters, digits and `-._~` are encoded. `None` if one of them is not there, or if they
/// lie on different drives.
pub(super) fn relative(from: &Path, to: &Path) -> Option<String> {
    let (from, to) = (std::fs::canonicalize(from).ok()?, std::fs::canonicalize(to).ok()?);
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| "..".to_owned());
    let down = to[shared..].iter().map(|part| match part {
        Component::Normal(name) => Some(encoded(&name.to_string_lossy())),
        _ => None,
    });
    let parts: Option<Vec<String>> = up.map(Some).chain(down).collect();
    parts.map(|parts| parts.join("/"))
}

fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let (out, run) = (folder.path().join("out"), folder.path().join("a run, 50 %"));
        std::fs::create_dir(&out).unwrap();
        std::fs::create_dir(&run).unwrap();
        assert_eq!(relative(&out, &run.join("report.html")), None);
        std::fs::write(run.join("report.html"), "").unwrap();
        assert_eq!(relative(&out, &run.join("report.html")).unwrap(), "../a%20run%2C%2050%20%25/report.html");
    }
}
