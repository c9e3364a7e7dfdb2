//! From an unknown folder of images and label maps to its manifest.
//!
//! [`propose`] takes everything that it can see in the folder, and asks nothing. It says what it
//! guessed.

mod classes;
mod folder;
mod labels;
mod lists;
mod names;
mod pairing;
mod split_words;
mod splits;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::layout::{Folder, Folders, Layout, Pairs};
use crate::manifest::Manifest;
use crate::split::Split;
use folder::Tree;
use labels::Seen;
use pairing::Pairing;

/// A manifest for an unknown folder.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The manifest. Each of its splits can be opened.
    pub manifest: Manifest,
    /// What was seen, one sentence each.
    pub seen: Vec<String>,
    /// What was guessed and should be looked at, one sentence each.
    pub guesses: Vec<String>,
    /// Smallest height and smallest width of images that were looked at.
    pub smallest: (usize, usize),
}

/// Looks at the folder `root` and describes the dataset in it as `name`. The manifest will be the
/// file `path`. `progress` receives the number of label files read and their total: at most 4000,
/// evenly spaced.
///
/// # Errors
/// [`Error::Unclear`] if there are no images with label maps in the folder, with what was found
/// there. [`Error::Read`] if the folder cannot be read.
pub fn propose(
    root: &Path,
    name: &str,
    path: &Path,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Proposal> {
    let tree = Tree::read(root)?;
    let unclear = |reason: String| Error::Unclear { folder: root.to_owned(), reason };
    if tree.has_folders(&["leftImg8bit", "gtFine"]) {
        let reason =
            "this is Cityscapes, whose manifest comes with robustseg: data-manifests/cityscapes.yaml";
        return Err(unclear(reason.into()));
    }
    let (mut seen, mut guesses) = (Vec::new(), Vec::new());
    let lists = lists::pairs(&tree);
    let (layout, splits) = if lists.is_empty() {
        let pairing = Pairing::find(&tree).map_err(unclear)?;
        pairing.tell(&mut seen, &mut guesses);
        let lists = lists::ids(&tree, &pairing, &mut guesses);
        let splits = splits::of_folders(&pairing, lists, &mut seen, &mut guesses);
        (layout(&pairing, &splits), splits)
    } else {
        seen.push("lists name an image and a label file in each line".to_owned());
        (Pairs.into(), splits::of_lists(lists, &mut seen, &mut guesses))
    };
    let mut manifest = Manifest::unfinished(name, layout, splits, path);
    let files = labels::files(&manifest, root)?;
    let labels: Seen = labels::read(&files, &mut guesses, progress).map_err(unclear)?;
    let smallest = labels.smallest;
    seen.push(labels.sizes());
    let names = names::find(&tree);
    classes::fill(&mut manifest, labels, names, &mut seen, &mut guesses).map_err(unclear)?;
    manifest.require_valid()?;
    for split in manifest.split_names().map(str::to_owned).collect::<Vec<_>>() {
        let count = Dataset::open(&manifest, root, &split)?.len();
        manifest.splits.get_mut(&split).expect("the name is one of its own").count = Some(count);
        seen.push(format!("split {split}: {}", robustseg_words::counted(count, "sample")));
    }
    Ok(Proposal { manifest, seen, guesses, smallest })
}

impl Proposal {
    /// The manifest as a file for people: what was seen and guessed stands in its head.
    pub fn to_yaml(&self) -> String {
        text::render(self)
    }
}

fn layout(pairing: &Pairing, splits: &BTreeMap<String, Split>) -> Layout {
    let place =
        |(folder, suffix): &(String, String)| Folder { folder: folder.clone(), suffix: suffix.clone() };
    // A list names the samples, so that images without a label do not matter.
    let listed = splits.values().all(|split| split.file.is_some());
    Folders {
        images: place(&pairing.images),
        labels: place(&pairing.labels),
        skip_unlabelled: pairing.unlabelled > 0 && !listed,
    }
    .into()
}

/// `path` as a relative path of manifests.
fn joined(folder: &str, name: &str) -> PathBuf {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}").into() }
}
