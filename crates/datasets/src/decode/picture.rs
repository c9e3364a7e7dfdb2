//! A picture whose size is known, of which some rows are decoded.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::format::Format;
use super::ids::Ids;
use super::{jpeg, png};

/// Rows of a picture, from the row `first` on: at least those asked for.
pub(crate) struct Rows {
    pub(crate) first: usize,
    pub(crate) data: Vec<u8>,
}

/// A file that was read, but not decoded.
pub(crate) struct Picture<'a> {
    bytes: &'a [u8],
    kind: Kind,
}

enum Kind {
    Jpeg(jpeg::Header),
    Png { width: usize, height: usize },
}

impl<'a> Picture<'a> {
    /// Reads the file at `path` into `bytes`. `None` if it cannot be read, or is not of the plain kind whose rows can
    /// be taken alone.
    pub(crate) fn open(path: &Path, bytes: &'a mut Vec<u8>) -> Option<Self> {
        bytes.clear();
        std::fs::File::open(path).ok()?.read_to_end(bytes).ok()?;
        let kind = match Format::of(bytes).ok()? {
            Format::Jpeg => Kind::Jpeg(jpeg::Header::read(bytes).ok()?),
            Format::Png => {
                let (width, height) = png::plain_size(bytes)?;
                Kind::Png { width, height }
            }
        };
        Some(Self { bytes, kind })
    }

    pub(crate) fn is_png(&self) -> bool {
        matches!(self.kind, Kind::Png { .. })
    }

    /// Width and height, as displayed.
    pub(crate) fn size(&self) -> (usize, usize) {
        match &self.kind {
            Kind::Jpeg(header) => header.size(),
            Kind::Png { width, height } => (*width, *height),
        }
    }

    /// Decodes an image's `rows` as RGB, into `buffer` if that fits. A JPEG is decoded as a whole.
    pub(crate) fn image(&self, rows: Range<usize>, buffer: Vec<u8>) -> Option<Rows> {
        match &self.kind {
            Kind::Jpeg(header) => {
                let image = jpeg::decode(self.bytes, header, buffer).ok()?;
                Some(Rows { first: 0, data: image.data })
            }
            Kind::Png { .. } => {
                let first = rows.start;
                Some(Rows { first, data: png::image_rows(self.bytes, rows, buffer).ok()? })
            }
        }
    }

    /// Decodes `rows` of a PNG, and none else, as ids, into `buffer` if that fits.
    pub(crate) fn ids(&self, rows: Range<usize>, buffer: Vec<u8>) -> Option<Ids> {
        png::label_rows(self.bytes, rows, buffer).ok()
    }

    /// Decodes `rows` of a PNG, and none else, as colours that have a meaning, into `buffer` if that fits.
    pub(crate) fn colours(&self, rows: Range<usize>, buffer: Vec<u8>) -> Option<Vec<u8>> {
        png::colour_rows(self.bytes, rows, buffer).ok()
    }
}
