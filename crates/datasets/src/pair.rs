//! An image and its label map, which must have the same size.

use std::path::Path;

use crate::decode::{orientation, read_image};
use crate::error::{Error, Result};
use crate::image::{Image, LabelMap};

/// Reads one image, and its label map with `read_label`.
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
    // Rotating back changes the size in the same way.
    let stored_size = orientation.turns().then(|| orientation.size(image_size.0, image_size.1));
    let (image, label) = (image.to_owned(), label.to_owned());
    Err(Error::Size { image, image_size, label, label_size, stored_size })
}
