//! The files below a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::is_clutter;

/// The deepest folder that is looked into.
const DEEPEST: usize = 6;

/// The largest text file that may be a list.
const LARGEST_TEXT: u64 = 8 << 20;

/// The pictures and texts below a folder.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    /// The names of the pictures in each folder, sorted. The folder's path is relative, with `/`.
    pub(super) pictures: BTreeMap<String, Vec<String>>,
    /// The relative paths of texts that may be lists.
    pub(super) texts: Vec<String>,
}

impl Tree {
    /// The tree below `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { root: root.to_owned(), pictures: BTreeMap::new(), texts: Vec::new() };
        tree.add("", 0)?;
        tree.texts.sort_unstable();
        Ok(tree)
    }

    fn add(&mut self, folder: &str, depth: usize) -> Result<()> {
        let path = self.root.join(folder);
        let fault = |source| Error::Read { path: path.clone(), source };
        let mut pictures = Vec::new();
        let mut folders = Vec::new();
        for entry in fs::read_dir(&path).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            // A name that is no text cannot stand in a manifest.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_clutter(&name) {
                continue;
            }
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            let below = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if metadata.is_dir() {
                folders.push(below);
            } else if is_picture(&name) {
                pictures.push(name);
            } else if is_text(&name) && metadata.len() <= LARGEST_TEXT {
                self.texts.push(below);
            }
        }
        if !pictures.is_empty() {
            pictures.sort_unstable();
            self.pictures.insert(folder.to_owned(), pictures);
        }
        if depth < DEEPEST {
            folders.iter().try_for_each(|folder| self.add(folder, depth + 1))?;
        }
        Ok(())
    }

    /// Whether all these folders with pictures in or below them are there.
    pub(super) fn has_folders(&self, names: &[&str]) -> bool {
        names.iter().all(|name| {
            let below = format!("{name}/");
            self.pictures.keys().any(|folder| folder == name || folder.starts_with(&below))
        })
    }

    /// The text at the relative path, or nothing if it is no UTF-8.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim_start_matches('\u{feff}').to_owned())
    }
}

/// The ending of a name after its last dot, in small letters.
pub(super) fn extension(name: &str) -> String {
    name.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_lowercase())
}

fn is_picture(name: &str) -> bool {
    matches!(extension(name).as_str(), "jpg" | "jpeg" | "png")
}

fn is_text(name: &str) -> bool {
    matches!(extension(name).as_str(), "txt" | "lst" | "csv" | "names")
}
