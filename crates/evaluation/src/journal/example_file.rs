//! An example in its own sealed file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use robustseg_files::sealed::{self, Sealed, seal};
use robustseg_files::write_atomically;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::fault::{damaged, file_error};
use crate::example::Example;
use crate::{Error, Result};

/// The beginning and end of the files' names, around the index of the image.
const NAME: (&str, &str) = ("example-", ".safetensors");

/// The metadata key of an example.
const METADATA: &str = "example";

/// An example without its pixels. Numbers are stored by their bits, so no value is rounded.
#[derive(Serialize, Deserialize)]
struct ExampleHead {
    id: String,
    pixel_accuracy: u64,
    landscape: Vec<(u64, u32)>,
}

/// Writes `example` to its file in `folder`.
pub(super) fn write(folder: &Path, number: usize, example: &Example) -> Result<()> {
    let path = path_of(folder, number);
    let bytes = to_bytes(example)?;
    write_atomically(&path, &bytes).map_err(|source| file_error("writing", &path, source))
}

/// The content of the file of `example`.
pub(crate) fn to_bytes(example: &Example) -> Result<Vec<u8>> {
    let Example { width, height, .. } = *example;
    let head = ExampleHead {
        id: example.id.clone(),
        pixel_accuracy: example.pixel_accuracy.to_bits(),
        landscape: example.landscape.iter().map(|(at, loss)| (at.to_bits(), loss.to_bits())).collect(),
    };
    let picture = |data| TensorView::new(Dtype::U8, vec![height, width, 3], data);
    let map = |data| TensorView::new(Dtype::U8, vec![height, width], data);
    let tensors = || {
        Ok(vec![
            ("image".to_owned(), picture(&example.image)?),
            ("label".to_owned(), map(&example.label)?),
            ("prediction".to_owned(), map(&example.prediction)?),
            ("adversarial".to_owned(), picture(&example.adversarial)?),
            ("adversarial_prediction".to_owned(), map(&example.adversarial_prediction)?),
        ])
    };
    let wrap = |error: safetensors::SafeTensorError| candle_core::Error::wrap(error);
    let head = serde_json::to_string(&head).map_err(candle_core::Error::wrap)?;
    Ok(tensors().and_then(|tensors| seal(tensors, &BTreeMap::from([(METADATA, head)]))).map_err(wrap)?)
}

/// Reads the example from its file in `folder`.
pub(super) fn read(folder: &Path, number: usize) -> Result<Example> {
    let path = path_of(folder, number);
    let refuse = |reason: String| damaged(&path, &format!("it {reason}"));
    parse(&sealed::read(&path).map_err(refuse)?, &refuse)
}

/// The example of which [`to_bytes`] made `bytes`.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Example> {
    parse(bytes, &|reason| candle_core::Error::Msg(format!("an example {reason}")).into())
}

fn parse(bytes: &[u8], refuse: &dyn Fn(String) -> Error) -> Result<Example> {
    let Sealed { tensors, metadata, sealed } = Sealed::parse(bytes).map_err(refuse)?;
    let head = metadata.get(METADATA).filter(|_| sealed);
    let head = head.and_then(|head| serde_json::from_str::<ExampleHead>(head).ok());
    let head = head.ok_or_else(|| refuse("is no example of an evaluation".into()))?;
    let tensor = |name: &str| {
        let found = tensors.tensor(name).map_err(|_| refuse(format!("lacks {name}")))?;
        Ok::<_, Error>((found.data().to_vec(), found.shape().to_vec()))
    };
    let (label, shape) = tensor("label")?;
    let [height, width] = shape[..] else { return Err(refuse("has a label of another shape".into())) };
    let bytes = |name: &str| Ok::<_, Error>(tensor(name)?.0);
    Ok(Example {
        id: head.id,
        width,
        height,
        image: bytes("image")?,
        label,
        prediction: bytes("prediction")?,
        adversarial: bytes("adversarial")?,
        adversarial_prediction: bytes("adversarial_prediction")?,
        pixel_accuracy: f64::from_bits(head.pixel_accuracy),
        landscape: (head.landscape.into_iter())
            .map(|(at, loss)| (f64::from_bits(at), f32::from_bits(loss)))
            .collect(),
    })
}

/// The indices of the examples in `folder`, which may be missing.
pub(super) fn numbers_in(folder: &Path) -> Result<BTreeSet<usize>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(|source| file_error("listing", folder, source))?,
    };
    let number = |name: String| name.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?.parse().ok();
    Ok(entries.flatten().filter_map(|entry| number(entry.file_name().into_string().ok()?)).collect())
}

/// The file of an example in `folder`.
pub(super) fn path_of(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{}{number:05}{}", NAME.0, NAME.1))
}

/// Deletes the file of an example in `folder`.
pub(super) fn delete(folder: &Path, number: usize) -> Result<()> {
    let path = path_of(folder, number);
    fs::remove_file(&path).map_err(|source| file_error("deleting", &path, source))
}
