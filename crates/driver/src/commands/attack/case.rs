//! The images and labels that `robustseg attack` attacks.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use robustseg_datasets::{Class, Error, Image, LabelMap, Labelling, Manifest, read_pair};
use robustseg_models::{CheckpointClass, Network, Origin};
use robustseg_ops::IGNORE_LABEL;

use super::Attack;
use crate::checkpoint::require_classes;
use crate::exit::BadData;
use crate::image_file;

/// The advice for label files without class indices.
const ASK_MANIFEST: &str = "give the data's manifest with --manifest, which says what label values mean";

impl Attack {
    /// Images (N, 3, H, W) and labels (N, H, W) to attack, cut to the window's region.
    pub(super) fn case(
        &self,
        network: &Network,
        origin: &Origin,
        manifest: Option<&Manifest>,
        device: &Device,
    ) -> anyhow::Result<(Tensor, Tensor)> {
        let classes = network.config().num_classes;
        let (image, label, place) = match (&self.input, &self.image, &self.label) {
            (Some(path), _, _) => {
                let (image, label) = read_case(path, device)?;
                (image, label, path)
            }
            (None, Some(image), Some(label)) => {
                let (pixels, labels) = self.pair((image, label), classes, origin, manifest)?;
                let (height, width) = (labels.height, labels.width);
                let labels = Tensor::from_vec(labels.data, (1, height, width), device)?;
                (image_file::tensor(&pixels, device)?, labels, label)
            }
            _ => unreachable!("the command line asks for one or the other"),
        };
        let labels: Vec<u8> = label.flatten_all()?.to_vec1()?;
        let wrong = labels.iter().find(|&&value| value != IGNORE_LABEL && usize::from(value) >= classes);
        if let Some(value) = wrong {
            let place = place.display();
            let hint = if self.label.is_some() { format!("; {ASK_MANIFEST}") } else { String::new() };
            let text = format!(
                "{place}: label value {value}, but the checkpoint has {classes} classes (0 to {}, 255 = not \
                 labelled){hint}",
                classes - 1
            );
            return Err(BadData(text).into());
        }
        let (_, height, width) = label.dims3()?;
        let [top, left, rows, columns] = self.window.region(height, width);
        // If images and labels differ in size, the attack refuses them.
        if [rows, columns] == [height, width] || image.dims()[2..] != [height, width] {
            return Ok((image, label));
        }
        let image = image.narrow(2, top, rows)?.narrow(3, left, columns)?.contiguous()?;
        Ok((image, label.narrow(1, top, rows)?.narrow(2, left, columns)?.contiguous()?))
    }

    /// Image and label as the manifest describes them; its classes must be those of the checkpoint.
    /// Without a manifest, the label's values are the indices of these classes.
    fn pair(
        &self,
        (image, label): (&Path, &Path),
        num_classes: usize,
        origin: &Origin,
        manifest: Option<&Manifest>,
    ) -> anyhow::Result<(Image, LabelMap)> {
        if let Some(manifest) = manifest {
            require_classes(&self.checkpoint, origin, num_classes, manifest, self.ignore_classes)?;
            return Ok(read_pair(image, label, Labelling::Manifest(manifest))?);
        }
        let class = |class: &CheckpointClass| Class {
            name: class.name.clone(),
            colour: class.colour,
            values: Vec::new(),
            label_colours: Vec::new(),
        };
        let classes: Option<Vec<Class>> =
            origin.classes.as_ref().map(|classes| classes.iter().map(class).collect());
        let labelling = classes.as_deref().map_or(Labelling::Indices, Labelling::Classes);
        read_pair(image, label, labelling).map_err(|error| match error {
            Error::Mixup { .. } | Error::LabelValue { .. } => {
                BadData(format!("{error}; {ASK_MANIFEST}")).into()
            }
            error => error.into(),
        })
    }
}

fn read_case(path: &Path, device: &Device) -> anyhow::Result<(Tensor, Tensor)> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    if !path.is_file() {
        return Err(refuse("no such file".into()).into());
    }
    let mut tensors = candle_core::safetensors::load(path, device)
        .map_err(|error| refuse(format!("is not a complete safetensors file ({error})")))?;
    let mut take = |name: &str, dtype: DType, shape: &str, rank: usize| -> Result<Tensor, BadData> {
        let tensor = tensors.remove(name).ok_or_else(|| refuse(format!("holds no tensor `{name}`")))?;
        if tensor.dtype() == dtype && tensor.rank() == rank {
            return Ok(tensor);
        }
        let (found, dims) = (tensor.dtype(), tensor.dims());
        Err(refuse(format!("`{name}` must be {dtype:?} of shape {shape}, found {found:?} {dims:?}")))
    };
    Ok((take("image", DType::F32, "(N, 3, H, W)", 4)?, take("label", DType::U8, "(N, H, W)", 3)?))
}
