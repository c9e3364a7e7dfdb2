//! An image and its label map, read by what is known of the classes.

use std::path::Path;

use crate::class::Class;
use crate::decode::read_label;
use crate::error::Result;
use crate::image::{Image, LabelMap};
use crate::label_code::LabelCode;
use crate::layout::{IdFiles, Mixup, id_files};
use crate::manifest::Manifest;
use crate::pair;

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

/// Reads an image and its label map, which have to be of one size. The label map holds class
/// indices and [`IGNORE_LABEL`](crate::IGNORE_LABEL), as `labelling` says; where it knows nothing,
/// what [`read_label`] gives.
///
/// # Errors
/// If one of them cannot be read, or their sizes differ; without a manifest also if the label file
/// holds other ids by its name, such as Cityscapes' `*_labelIds.png`: many of them look like class
/// indices and mean other classes.
pub fn read_pair(image: &Path, label: &Path, labelling: Labelling<'_>) -> Result<(Image, LabelMap)> {
    pair::read(image, label, |path| {
        if let Labelling::Manifest(manifest) = labelling {
            return manifest.read_label(path);
        }
        if let Some(IdFiles { content, kind, advice, .. }) = id_files(path) {
            let reason = format!("holds {content} by its name, which are no class indices");
            return Err(Mixup { reason, kind, advice }.of(path));
        }
        match labelling {
            Labelling::Classes(classes) => LabelCode::of_classes(classes).read(path),
            _ => read_label(path),
        }
    })
}
