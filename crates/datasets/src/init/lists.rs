//! Lists of samples among the texts of a folder.

use std::path::Path;

use super::folder::{Tree, extension};
use super::pairing::Pairing;
use super::split_words::canonical;
use crate::layout::pair_of_line;

/// A list of samples.
pub(super) struct List {
    /// Its relative path.
    pub(super) path: String,
    /// The name of the split.
    pub(super) split: String,
    /// The name of the split's folder, where folders have one.
    pub(super) from: Option<String>,
}

/// The lists that name an image and a label file in each line.
pub(super) fn pairs(tree: &Tree) -> Vec<List> {
    let is_there = |path: &str| tree.root.join(path).is_file();
    let is_pair = |line: &str| matches!(pair_of_line(line)[..], [image, label] if extension(label) == "png" && is_there(image) && is_there(label));
    let mut lists = Vec::new();
    for path in &tree.texts {
        let Some(text) = tree.text(path) else { continue };
        let mut lines = lines(&text).peekable();
        if lines.peek().is_some() && lines.all(is_pair) {
            add(&mut lists, path, None);
        }
    }
    lists
}

/// The lists that name the ids of the samples of `pairing`. Says which ones name too many.
pub(super) fn ids(tree: &Tree, pairing: &Pairing, guesses: &mut Vec<String>) -> Vec<List> {
    let mut lists = Vec::new();
    let mut left = Vec::new();
    for path in &tree.texts {
        let Some(text) = tree.text(path) else { continue };
        let count = lines(&text).count();
        let known =
            |ids: &std::collections::BTreeSet<String>| lines(&text).filter(|id| ids.contains(*id)).count();
        let (from, known) = pairing
            .ids
            .iter()
            .map(|(from, ids)| (from, known(ids)))
            .max_by_key(|(_, known)| *known)
            .unwrap_or((&None, 0));
        if known > 0 && known == count {
            add(&mut lists, path, from.clone());
        } else if known > 0 {
            left.push(format!("{path} ({} of {count} ids have no files)", count - known));
        }
    }
    if !left.is_empty() {
        guesses.push(format!("lists that were left: {}", left.join(", ")));
    }
    lists
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Adds the list at `path`, unless its split has one.
fn add(lists: &mut Vec<List>, path: &str, from: Option<String>) {
    let stem = Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let split = canonical(&stem).map_or(stem, str::to_owned);
    if lists.iter().all(|list| list.split != split) {
        lists.push(List { path: path.to_owned(), split, from });
    }
}
