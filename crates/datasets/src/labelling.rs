//! Reads images and their label maps, given what is known about the classes.

use std::path::Path;

use crate::class::Class;
use crate::decode::read_label;
use crate::error::Result;
use crate::image::{Image, LabelMap};
use crate::label_code::LabelCode;
use crate::layout::{IdFiles, Mixup, id_files};
use crate::manifest::Manifest;
use crate::pair;

/// The source of the meaning of label values.
#[derive(Clone, Copy, Debug)]
pub enum Labelling<'a> {
    /// A manifest.
    Manifest(&'a Manifest),
    /// Values are the indices of these classes. Palettes are compared with their colours.
    Classes(&'a [Class]),
    /// Values are the indices of unknown classes.
    Indices,
}

/// Reads an image and its label map, which must have the same size. The label map contains class
/// indices and [`IGNORE_LABEL`](crate::IGNORE_LABEL) according to `labelling`, or the values of
/// [`read_label`] if the classes are unknown.
///
/// # Errors
/// If a file cannot be read, or the sizes differ. Without a manifest, also if the label file's name
/// means that it contains other ids, such as Cityscapes' `*_labelIds.png`. Many of these look like
/// class indices but mean other classes.
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
