//! Decodes only the rows of a sample that its crop needs.

use std::cell::RefCell;
use std::path::Path;

use crate::affine::Affine;
use crate::crop::Source;
use crate::decode::Picture;
use crate::label_code::LabelCode;
use crate::pack::Pack;
use crate::{AugmentationParameters, Crop, Result};

/// Memory that a thread reuses for the next sample: fresh pages cost more than writing to them.
#[derive(Default)]
struct Buffers {
    image_file: Vec<u8>,
    label_file: Vec<u8>,
    image: Vec<u8>,
    label: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// The crop of the sample in the files `image` and `label`, decoded from as few rows as possible,
/// into the memory of `spare`. `None` if anything is unusual or wrong. The caller then reads the
/// whole files, which gives a crop or an error with the reason.
///
/// Files are checked to their ends, chunk by chunk. Rows outside the crop are not decoded, and
/// their label values are not checked.
pub(crate) fn crop(
    image: &Path,
    label: &Path,
    code: &LabelCode,
    parameters: &AugmentationParameters,
    fill: [f32; 3],
    spare: &mut Crop,
) -> Option<Crop> {
    BUFFERS.with_borrow_mut(|buffers| {
        let label = Picture::open(label, &mut buffers.label_file).filter(Picture::is_png)?;
        let image = Picture::open(image, &mut buffers.image_file)?;
        let (width, height) = image.size();
        if label.size() != (width, height) {
            return None;
        }
        let affine = Affine::new(width, height, parameters);
        let wanted = affine.rows();
        let labels = code.rows(&label, wanted.clone(), std::mem::take(&mut buffers.label))?;
        let colours = image.image(wanted.clone(), std::mem::take(&mut buffers.image))?;
        let first = wanted.start;
        let skipped = (first - colours.first) * 3 * width;
        let source = Source { width, height, first, image: &colours.data[skipped..], label: &labels };
        let crop = source.crop(&affine, parameters, fill, std::mem::take(spare));
        (buffers.image, buffers.label) = (colours.data, labels);
        Some(crop)
    })
}

/// The crop of the sample at `index` of a pack, from the rows it needs, into the memory of `spare`.
pub(crate) fn packed(
    pack: &Pack,
    index: usize,
    parameters: &AugmentationParameters,
    fill: [f32; 3],
    spare: Crop,
) -> Result<Crop> {
    BUFFERS.with_borrow_mut(|Buffers { image, label, .. }| {
        let (width, height) = pack.size(index);
        let affine = Affine::new(width, height, parameters);
        let rows = affine.rows();
        let first = rows.start;
        pack.rows(index, rows, image, label)?;
        Ok(Source { width, height, first, image, label }.crop(&affine, parameters, fill, spare))
    })
}
