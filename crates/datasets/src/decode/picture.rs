//! A picture of known size from which single rows can be decoded.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::format::Format;
use super::ids::Ids;
use super::{jpeg, png};

/// Rows of a picture, starting with row `first`: at least the requested ones.
pub(crate) struct Rows {
    pub(crate) first: usize,
    pub(crate) data: Vec<u8>,
}

/// A file that was read but not decoded.
pub(crate) struct Picture<'a> {
    bytes: &'a [u8],
    kind: Kind,
}

enum Kind {
    Jpeg(jpeg::Header),
    Png { width: usize, height: usize },
}

impl<'a> Picture<'a> {
    /// Reads the file at `path` into `bytes`. `None` if it cannot be read, or if its rows cannot be
    /// decoded separately.
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

    /// Decodes the `rows` of an image as RGB, into `buffer` if that fits. Decodes a JPEG as a
    /// whole.
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

    /// Decodes only `rows` of a PNG as ids, into `buffer` if that fits.
    pub(crate) fn ids(&self, rows: Range<usize>, buffer: Vec<u8>) -> Option<Ids> {
        png::label_rows(self.bytes, rows, buffer).ok()
    }

    /// Decodes only `rows` of a PNG as meaningful colours, into `buffer` if that fits.
    pub(crate) fn colours(&self, rows: Range<usize>, buffer: Vec<u8>) -> Option<Vec<u8>> {
        png::colour_rows(self.bytes, rows, buffer).ok()
    }
}
