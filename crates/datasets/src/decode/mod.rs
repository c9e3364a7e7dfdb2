//! From files to pixels. What a file is, its content decides, never its name.

mod exif;
mod jpeg;
mod picture;
mod png;

use std::path::Path;

use crate::{Error, Image, LabelMap, Result};
pub(crate) use picture::{Picture, Rows};

/// What decodes pictures: decoders differ in the last bits of a JPEG.
pub const DECODERS: &str = "zune-jpeg 0.5 (strict), png 0.18";

/// Pixels that a picture may have at most; checked before memory is taken.
pub const MAX_PIXELS: usize = 1 << 27;

/// Reads a JPEG or PNG as 8-bit RGB.
///
/// Grayscale and palettes become RGB, of 16-bit values the high byte is taken, an alpha channel is dropped without
/// blending. A picture is turned upright as its EXIF orientation says: label maps are drawn on displayed pictures.
/// Colour profiles are not applied.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`]: an unknown format, a truncated or corrupt file, CMYK, more than
/// [`MAX_PIXELS`].
pub fn read_image(path: &Path) -> Result<Image> {
    let bytes = read(path)?;
    let image = match Format::of(&bytes) {
        Ok(Format::Jpeg) => jpeg::image(&bytes),
        Ok(Format::Png) => png::image(&bytes),
        Err(reason) => Err(reason),
    };
    image.map_err(|reason| Error::Decode { path: path.to_owned(), reason })
}

/// Reads a label map as the file has it: gray values or palette indices, no colours.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`]: as [`read_image`], and for pictures that hold no ids (RGB, RGBA, gray with
/// alpha, 16-bit values above 255) or not surely the right ones (JPEG).
pub fn read_label(path: &Path) -> Result<LabelMap> {
    let bytes = read(path)?;
    let label = match Format::of(&bytes) {
        Ok(Format::Jpeg) => Err("a JPEG cannot be a label map, it changes ids; take PNG".into()),
        Ok(Format::Png) => png::label(&bytes),
        Err(reason) => Err(reason),
    };
    label.map_err(|reason| Error::Decode { path: path.to_owned(), reason })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

enum Format {
    Jpeg,
    Png,
}

impl Format {
    fn of(bytes: &[u8]) -> std::result::Result<Self, String> {
        if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            Ok(Self::Jpeg)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Ok(Self::Png)
        } else if bytes.is_empty() {
            Err("is empty".into())
        } else if bytes.starts_with(b"version https://git-lfs") {
            Err("is a Git LFS pointer, not a picture; fetch the file itself".into())
        } else {
            Err("is neither JPEG nor PNG".into())
        }
    }
}

/// Refuses pictures without pixels or with too many.
fn check_size(width: usize, height: usize) -> std::result::Result<(), String> {
    match width.checked_mul(height) {
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(format!("{width}x{height} pixels; possible are 1 to {MAX_PIXELS}")),
    }
}
