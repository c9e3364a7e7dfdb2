//! A folder of images and one of label maps.

use std::path::{Path, PathBuf};

use super::{Files, list, names};
use crate::{Folder, Folders, Result};

/// The samples of `split` below `root`: those of the list `file` of ids, in its order; without a list one for each image,
/// sorted. A sample's id is its image's name without the suffix.
pub(crate) fn samples(root: &Path, layout: &Folders, split: &str, file: Option<&Path>) -> Result<Vec<Files>> {
    let images = folder(root, &layout.images, split);
    let labels = folder(root, &layout.labels, split);
    let ids = match file {
        Some(file) => list::ids(&root.join(file))?,
        None => names(&images)?
            .iter()
            .filter_map(|name| name.strip_suffix(&layout.images.suffix))
            .filter(|id| !id.is_empty())
            .map(Into::into)
            .collect(),
    };
    let files = |id: String| Files {
        image: images.join(format!("{id}{}", layout.images.suffix)),
        label: labels.join(format!("{id}{}", layout.labels.suffix)),
        training_ids: None,
        id,
    };
    Ok(ids.into_iter().map(files).collect())
}

/// The folder of `split` that a layout names.
pub(crate) fn folder(root: &Path, folder: &Folder, split: &str) -> PathBuf {
    root.join(folder.folder.replace("{split}", split))
}
