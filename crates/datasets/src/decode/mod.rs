//! From files to pixels. What a file is, its content decides, never its name.

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

/// What decodes pictures: decoders differ in the last bits of a JPEG.
pub const DECODERS: &str = "zune-jpeg 0.5 (strict), png 0.18";

/// Reads a JPEG or PNG as 8-bit RGB.
///
/// Grayscale and palettes become RGB, of 16-bit values the high byte is taken, an alpha channel is dropped without
/// blending. A picture is turned upright as its EXIF orientation says, as label tools display it; for label maps that
/// were drawn on the stored pixels, the tags have to be removed from the images.
/// Colour profiles are not applied.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`]: an unknown format, a truncated or corrupt file, CMYK, more than
/// [`MAX_PIXELS`].
pub fn read_image(path: &Path) -> Result<Image> {
    decode(path, |bytes, format| match format {
        Format::Jpeg => jpeg::image(bytes),
        Format::Png => png::image(bytes),
    })
}

/// Width and height of the image that [`read_image`] gives, without decoding it where that is possible.
///
/// # Errors
/// As [`read_image`], but for what decoding alone would show.
pub fn image_size(path: &Path) -> Result<(usize, usize)> {
    match Picture::open(path, &mut Vec::new()) {
        Some(picture) => Ok(picture.size()),
        None => read_image(path).map(|image| (image.width, image.height)),
    }
}

/// Reads a label map as the file has it: gray values or palette indices, no colours.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`]: as [`read_image`], and for pictures that hold no ids (RGB, RGBA, gray with
/// alpha, 16-bit values above 255) or not surely the right ones (JPEG).
pub fn read_label(path: &Path) -> Result<LabelMap> {
    Ok(read_ids(path)?.map)
}

/// As [`read_label`], with the palette.
pub(crate) fn read_ids(path: &Path) -> Result<Ids> {
    decode_label(path, png::ids)
}

/// Reads the colours of a label map whose colours have a meaning.
///
/// # Errors
/// As [`read_label`], and for 16 bits a channel and for pixels that can be seen through.
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

/// Bytes of a JPEG's beginning in which its orientation is looked for.
const BEGINNING: u64 = 256 << 10;

/// How the picture in the file `path` is turned, which is known from little of the file; upright if that cannot be read.
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
