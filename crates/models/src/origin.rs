//! The classes, the training and the source of a checkpoint: its metadata keys `classes`,
//! `training` and `import`.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The metadata key of the classes.
const CLASSES: &str = "classes";

/// The metadata key of the training.
const TRAINING: &str = "training";

/// The metadata key of the imported file.
const IMPORT: &str = "import";

/// The origin of a checkpoint. A network runs without it; whatever a file leaves out is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The classes in the order of the logits.
    pub classes: Option<Vec<CheckpointClass>>,
    /// The training that made the weights.
    pub training: Option<TrainingOrigin>,
    /// The file of another program that the weights come from.
    pub import: Option<ImportOrigin>,
}

/// A class of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointClass {
    /// Its name.
    pub name: String,
    /// Its colour in pictures: red, green, blue.
    pub colour: [u8; 3],
}

/// The training that made a checkpoint's weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingOrigin {
    /// The training method, by its name in specs.
    pub method: String,
    /// The seed of all random draws.
    pub seed: u64,
    /// Training steps so far.
    pub step: u64,
    /// SHA-256, as 64 hexadecimal digits, of everything else that decides the weights: the spec's
    /// training settings and the content of the data. Trainings that differ in the seed alone share
    /// it.
    pub spec_sha256: String,
}

/// The file of another program that a checkpoint's weights come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOrigin {
    /// Its name without folders, or its source on the hub.
    pub file: String,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// The kind of checkpoint that it was read as, such as `semseg-pspnet`.
    pub kind: String,
    /// Number of tensors that were taken.
    pub taken: usize,
    /// Names of the file's other tensors.
    pub left: Vec<String>,
}

impl Origin {
    /// Reads the origin of a network of `num_classes` classes from `metadata`.
    ///
    /// # Errors
    /// The fault, as the end of a sentence that begins with the file's name: a key cannot be read,
    /// or the number of classes is not that of the logits.
    pub(crate) fn parse(metadata: &HashMap<String, String>, num_classes: usize) -> Result<Self, String> {
        let classes: Option<Vec<CheckpointClass>> = read(metadata, CLASSES)?;
        if let Some(named) = classes.as_ref().map(Vec::len).filter(|named| *named != num_classes) {
            return Err(format!(
                "names {named} classes in its `{CLASSES}` metadata, but its network has {num_classes}"
            ));
        }
        Ok(Self { classes, training: read(metadata, TRAINING)?, import: read(metadata, IMPORT)? })
    }

    /// Writes all that is known to `metadata`.
    pub(crate) fn write(&self, metadata: &mut BTreeMap<&str, String>) {
        let text = |value: serde_json::Result<String>| value.expect("an origin is plain data");
        if let Some(classes) = &self.classes {
            metadata.insert(CLASSES, text(serde_json::to_string(classes)));
        }
        if let Some(training) = &self.training {
            metadata.insert(TRAINING, text(serde_json::to_string(training)));
        }
        if let Some(import) = &self.import {
            metadata.insert(IMPORT, text(serde_json::to_string(import)));
        }
    }
}

fn read<T: DeserializeOwned>(metadata: &HashMap<String, String>, key: &str) -> Result<Option<T>, String> {
    let value = metadata.get(key).map(|text| serde_json::from_str(text)).transpose();
    value.map_err(|error| {
        format!("its `{key}` metadata is not understood: {error}; is it of a newer robustseg?")
    })
}
