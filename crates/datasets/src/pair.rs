//! An image and its label map.

use std::path::Path;

use crate::decode::orientation;
use crate::label_code::LabelCode;
use crate::{Class, Error, Image, LabelMap, Manifest, Result, read_image, read_label};

/// What says which values of a label file mean which classes.
#[derive(Clone, Copy, Debug)]
pub enum Labelling<'a> {
    /// A manifest.
    Manifest(&'a Manifest),
    /// Values are the indices of these classes, with whose colours palettes are compared.
    Classes(&'a [Class]),
    /// Values are the indices of classes of which nothing is known.
    Indices,
}

/// Reads an image and its label map, which have to be of one size. The label map holds class indices and
/// [`IGNORE_LABEL`](crate::IGNORE_LABEL), as `labelling` says; where it knows nothing, what [`read_label`] gives.
///
/// # Errors
/// If one of them cannot be read, or their sizes differ; without a manifest also if the label file is one of Cityscapes' ids
/// by its name, `*_labelIds.png`: many of them look like class indices and are others.
pub fn read_pair(image: &Path, label: &Path, labelling: Labelling<'_>) -> Result<(Image, LabelMap)> {
    read(image, label, |path| match labelling {
        Labelling::Manifest(manifest) => manifest.read_label(path),
        _ if holds_cityscapes_ids(path) => {
            let reason = "holds Cityscapes' ids by its name, which are no class indices";
            Err(Error::TrainingIds { path: path.to_owned(), reason: reason.into() })
        }
        Labelling::Classes(classes) => LabelCode::of_classes(classes).read(path),
        Labelling::Indices => read_label(path),
    })
}

/// Whether Cityscapes gives this name to files of its ids.
pub(crate) fn holds_cityscapes_ids(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_labelIds.png"))
}

/// An image and its label map as `read_label` reads it.
pub(crate) fn read(
    image: &Path,
    label: &Path,
    read_label: impl Fn(&Path) -> Result<LabelMap>,
) -> Result<(Image, LabelMap)> {
    let (pixels, labels) = (read_image(image)?, read_label(label)?);
    let (image_size, label_size) = ((pixels.width, pixels.height), (labels.width, labels.height));
    if image_size == label_size {
        return Ok((pixels, labels));
    }
    let orientation = orientation(image);
    // Turning back changes the size as turning does.
    let stored_size = orientation.turns().then(|| orientation.size(image_size.0, image_size.1));
    let (image, label) = (image.to_owned(), label.to_owned());
    Err(Error::Size { image, image_size, label, label_size, stored_size })
}
