//! The command of a run, for processes and for shells.

use std::path::Path;

use super::Series;
use crate::device::DeviceChoice;

/// How the command of a run starts it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    /// Starts over in place of a run.
    pub(crate) overwrite: bool,
    /// Resumes from the state before a damaged one.
    pub(crate) fall_back: bool,
    /// The device, instead of the spec's.
    pub(crate) device: Option<DeviceChoice>,
}

impl Series {
    /// The arguments with which the program starts or resumes the run `name`.
    pub(crate) fn arguments(&self, name: &str, way: Way) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let spec = text(&self.spec(name));
        let out =
            ["--out".to_owned(), text(&self.run(name)), "--outcome".to_owned(), text(&self.outcome(name))];
        let start = if way.overwrite { "--overwrite" } else { "--resume" };
        let mut arguments = vec!["run".to_owned(), spec];
        arguments.extend(out);
        arguments.push(start.to_owned());
        arguments.extend(way.fall_back.then(|| "--fall-back".to_owned()));
        if let Some(device) = way.device {
            arguments.extend(["--device".to_owned(), device.to_string()]);
        }
        arguments
    }
}

/// A command as one line of a POSIX shell.
pub(crate) fn shell_line(program: &Path, arguments: &[String]) -> String {
    let program = program.to_string_lossy().into_owned();
    let words = std::iter::once(&program).chain(arguments);
    words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// `word` as a shell reads it again.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_quoted_words_as_they_were() {
        let words = ["a b", "it's", "", "$HOME", "x*y", "plain-1.2/_=", "new\nline", "\\"];
        let arguments: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let line = shell_line(Path::new("printf"), &[&["%s\\0".to_owned()][..], &arguments].concat());
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        let read: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().split('\0').collect();
        assert_eq!(read[..words.len()], words);
    }
}
