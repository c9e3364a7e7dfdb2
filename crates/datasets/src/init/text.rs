//! A proposal as a manifest for people.

use std::fmt::Write;

use super::Proposal;
use crate::class::Class;
use crate::label_rules::LabelsBy;
use crate::layout::{Folder, Folders, Layout};
use crate::split::Split;

/// The columns of a comment.
const WIDTH: usize = 110;

/// The manifest of `proposal` with what was seen and guessed in its head.
pub(super) fn render(Proposal { manifest, seen, guesses, .. }: &Proposal) -> String {
    let mut text = "# Written by `robustseg data init`.\n".to_owned();
    for (head, lines) in [("Seen:", seen), ("Guessed, to be looked at:", guesses)] {
        if !lines.is_empty() {
            writeln!(text, "# {head}").expect("a string takes all text");
            for line in lines {
                comment(&mut text, line);
            }
        }
    }
    let mut line = |line: String| {
        text += &line;
        text.push('\n');
    };
    line(format!("name: {}", quoted(&manifest.name)));
    line(format!("folder: {}", quoted(&manifest.folder)));
    match &manifest.layout {
        Layout::Folders(Folders { images, labels, skip_unlabelled }) => {
            let folder = |Folder { folder, suffix }: &Folder| {
                format!("{{folder: {}, suffix: {}}}", quoted(folder), quoted(suffix))
            };
            line("layout:\n  folders:".into());
            line(format!("    images: {}", folder(images)));
            line(format!("    labels: {}", folder(labels)));
            if *skip_unlabelled {
                line("    skip_unlabelled: true".into());
            }
        }
        other => line(format!("layout: {}", other.name())),
    }
    if manifest.labels_by == LabelsBy::Colour {
        line("labels_by: colour".into());
    }
    line("classes:".into());
    for Class { name, colour, values, .. } in &manifest.classes {
        let value = values.first().map_or(String::new(), |value| format!(", value: {value}"));
        line(format!("  - {{name: {}, colour: {colour:?}{value}}}", quoted(name)));
    }
    if !manifest.ignored.is_empty() {
        line(format!("ignored: {:?}", manifest.ignored));
    }
    if !manifest.ignored_colours.is_empty() {
        line(format!("ignored_colours: {:?}", manifest.ignored_colours));
    }
    line("splits:".into());
    for (name, Split { file, count, from, percent, .. }) in &manifest.splits {
        let parts = [
            file.as_ref().map(|file| format!("file: {}", quoted(&file.to_string_lossy()))),
            from.as_ref().map(|from| format!("from: {}", quoted(from))),
            percent.map(|percent| format!("percent: {percent:?}")),
            count.map(|count| format!("count: {count}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        line(format!("  {}: {{{}}}", quoted(name), parts.join(", ")));
    }
    text
}

/// Adds a sentence as lines of a comment.
fn comment(text: &mut String, sentence: &str) {
    let (mut lead, mut line) = ("# - ", String::new());
    for word in sentence.split_whitespace() {
        if !line.is_empty() && lead.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(text, "{lead}{line}").expect("a string takes all text");
            (lead, line) = ("#   ", String::new());
        }
        line += if line.is_empty() { "" } else { " " };
        line += word;
    }
    writeln!(text, "{lead}{line}").expect("a string takes all text");
}

/// A text in YAML, in quotes unless it is a plain word.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-/. ".contains(c))
        && text.trim() == text
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}
