//! Decodes files. The format follows from the content, never from the name.

mod exif;
mod fault;
mod format;
mod ids;
mod jpeg;
mod picture;
mod png;
mod size;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use format::Format;

pub(crate) use exif::Orientation;
pub(crate) use fault::{AGAIN, Fault};
pub(crate) use ids::Ids;
pub(crate) use picture::Picture;
pub use size::MAX_PIXELS;

use crate::error::{Error, Result};
use crate::image::{Image, LabelMap};

/// The decoders of pictures. Decoders differ in the last bits of a JPEG.
pub const DECODERS: &str = "zune-jpeg 0.5 (strict), png 0.18";

/// Reads a JPEG or PNG as 8-bit RGB.
///
/// Grayscale and palettes become RGB, 16-bit values lose their low byte, and an alpha channel is
/// dropped without blending. The picture is turned upright according to its EXIF orientation, as
/// label tools display it. If label maps were drawn on the stored pixels, remove the tags from the
/// images. Colour profiles are not applied.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`]: an unknown format, a truncated or corrupt file, CMYK, or
/// more than [`MAX_PIXELS`].
pub fn read_image(path: &Path) -> Result<Image> {
    decode(path, |bytes, format| match format {
        Format::Jpeg => jpeg::image(bytes),
        Format::Png => png::image(bytes),
    })
}

/// Width and height of what [`read_image`] returns, without decoding it if possible.
///
/// # Errors
/// The errors of [`read_image`], except those that only decoding would show.
pub fn image_size(path: &Path) -> Result<(usize, usize)> {
    match Picture::open(path, &mut Vec::new()) {
        Some(picture) => Ok(picture.size()),
        None => read_image(path).map(|image| (image.width, image.height)),
    }
}

/// Reads a label map as stored in the file: gray values or palette indices, not colours.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`]: the errors of [`read_image`], pictures without ids (RGB,
/// RGBA, gray with alpha, 16-bit values above 255), and pictures whose ids may be wrong (JPEG).
pub fn read_label(path: &Path) -> Result<LabelMap> {
    Ok(read_ids(path)?.map)
}

/// Like [`read_label`], with the palette.
pub(crate) fn read_ids(path: &Path) -> Result<Ids> {
    decode_label(path, png::ids)
}

/// Reads the colours of a label map whose colours have a meaning.
///
/// # Errors
/// The errors of [`read_label`], 16 bits per channel, and transparent pixels.
pub(crate) fn read_colours(path: &Path) -> Result<Image> {
    decode_label(path, png::colours)
}

fn decode_label<T>(path: &Path, png: impl Fn(&[u8]) -> std::result::Result<T, Fault>) -> Result<T> {
    decode(path, |bytes, format| match format {
        Format::Jpeg => {
            Err(Fault::with("a JPEG cannot be a label map", ", it changes ids; take PNG", fault::AS_PNG))
        }
        Format::Png => png(bytes),
    })
}

fn decode<T>(path: &Path, decode: impl Fn(&[u8], Format) -> std::result::Result<T, Fault>) -> Result<T> {
    let bytes = read(path)?;
    Format::of(&bytes).and_then(|format| decode(&bytes, format)).map_err(|fault| fault.of(path))
}

/// The number of bytes at a JPEG's beginning that are searched for its orientation.
const BEGINNING: u64 = 256 << 10;

/// The orientation of the picture in the file `path`, from a small part of the file. Upright if the
/// file cannot be read.
pub(crate) fn orientation(path: &Path) -> Orientation {
    let find = || -> Option<Orientation> {
        let mut file = File::open(path).ok()?;
        let mut bytes = Vec::new();
        (&mut file).take(BEGINNING).read_to_end(&mut bytes).ok()?;
        match Format::of(&bytes).ok()? {
            Format::Jpeg => jpeg::orientation(&bytes),
            Format::Png => png::orientation(file),
        }
    };
    find().unwrap_or(Orientation::UPRIGHT)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
