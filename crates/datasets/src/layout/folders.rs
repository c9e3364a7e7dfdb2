//! A folder of images and one of label maps.

use std::path::{Path, PathBuf};

use super::{Files, Place, list, names, strip_suffix};
use crate::{Error, Folder, Folders, Result};

/// The samples of `split` below `root`: those of the list `file` of ids, in its order; without a list one for each image,
/// sorted. A sample's id is its image's name without the suffix.
pub(crate) fn samples(root: &Path, layout: &Folders, split: &str, file: Option<&Path>) -> Result<Vec<Files>> {
    let images = Place::new(folder(root, &layout.images, split), &layout.images.suffix);
    let labels = Place::new(folder(root, &layout.labels, split), &layout.labels.suffix);
    let ids = match file {
        Some(file) => list::lines(&root.join(file))?,
        None => ids(&images, &labels)?,
    };
    let files =
        |id: String| Files { image: images.file(&id), label: labels.file(&id), training_ids: None, id };
    Ok(ids.into_iter().map(files).collect())
}

/// The ids of all images. Label maps in the same folder are left out, although their names end as those of images do.
fn ids(images: &Place, labels: &Place) -> Result<Vec<String>> {
    let beside = images.folder == labels.folder && labels.suffix.len() > images.suffix.len();
    let is_label = |name: &str| beside && strip_suffix(name, &labels.suffix).is_some();
    let names = names(&images.folder)?;
    let of_images = names.iter().filter(|name| !is_label(name));
    let mut found: Vec<(&str, &String)> = of_images
        .filter_map(|name| Some((strip_suffix(name, &images.suffix).filter(|id| !id.is_empty())?, name)))
        .collect();
    found.sort_unstable();
    if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (id, name) = pair[1];
        return Err(Error::TwoFiles { id: id.to_owned(), path: images.folder.join(name) });
    }
    Ok(found.into_iter().map(|(id, _)| id.to_owned()).collect())
}

/// The folder of `split` that a layout names.
pub(crate) fn folder(root: &Path, folder: &Folder, split: &str) -> PathBuf {
    root.join(folder.folder.replace("{split}", split))
}
