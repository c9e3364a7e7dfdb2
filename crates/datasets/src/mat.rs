//! SBD's label files: `GTcls.Segmentation` of a MATLAB 5 file, and nothing else of the format.
//!
//! A file is a header of 128 bytes followed by elements. Each element is a tag (type, bytes) and
//! its content. A compressed element is a zlib stream of one element. `GTcls` is an element of type
//! matrix and class struct. Its parts are flags, sizes, name, length of the field names, field
//! names, and one matrix per field. Unneeded fields are skipped by their length. See *MAT-File
//! Format*, The `MathWorks`, version 5.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use crate::decode::{AGAIN, Fault, MAX_PIXELS};
use crate::error::{Error, Result};
use crate::image::LabelMap;

/// Bytes of the file's header.
const HEADER: usize = 128;
/// Maximum bytes read of a compressed element's content. A label map and its boundaries need less.
const MAX_CONTENT: usize = 2 * MAX_PIXELS;

/// Types of elements.
const UINT8: u32 = 2;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// The common description of faults.
const CORRUPT: &str = "corrupt MATLAB file";
const TRUNCATED: &str = "truncated or corrupt MATLAB file";

/// Classes of matrices.
const STRUCT_CLASS: u8 = 2;
const UINT8_CLASS: u8 = 9;

/// Reads the label map of a file of SBD's `dataset/cls`: the `uint8` matrix `Segmentation` of its
/// variable `GTcls`.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`]: not a MATLAB 5 file, a truncated or corrupt file, a file
/// without such a matrix, or more than [`MAX_PIXELS`].
pub fn read_sbd_label(path: &Path) -> Result<LabelMap> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    label(&bytes).map_err(|fault| fault.of(path))
}

fn label(bytes: &[u8]) -> Result<LabelMap, Fault> {
    if bytes.is_empty() {
        return Err(Fault::damage("is empty"));
    }
    let (header, content) = bytes.split_at_checked(HEADER).ok_or_else(|| foreign(": too short"))?;
    let little = match &header[124..] {
        [0, 1, b'I', b'M'] => true,
        [1, 0, b'M', b'I'] => false,
        _ if header.starts_with(b"MATLAB 7.3") => {
            let reason = "is a MATLAB 7.3 file (HDF5); SBD's own files are MATLAB 5";
            return Err(Fault::new("is a MATLAB N.N file (HDFN)", reason, AGAIN));
        }
        _ => return Err(foreign("")),
    };
    let mut elements = Elements { rest: content, little };
    while let Some(element) = elements.next()? {
        let found = match element.kind {
            COMPRESSED => {
                let content = inflate(element.content)?;
                let mut inside = Elements { rest: &content, little };
                inside.next()?.map_or(Ok(None), |matrix| segmentation(&matrix, little))?
            }
            _ => segmentation(&element, little)?,
        };
        if let Some(label) = found {
            // The other elements must be complete, too: a partial file is refused.
            while elements.next()?.is_some() {}
            return Ok(label);
        }
    }
    Err(Fault::with("holds no variable GTcls", ", so it is not a file of SBD's dataset/cls", AGAIN))
}

/// The fault of a file of another format.
fn foreign(more: &str) -> Fault {
    Fault::new("is no MATLAB N file", format!("is no MATLAB 5 file{more}"), AGAIN)
}

/// The content of a zlib stream. Verifies its checksum.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::new();
    ZlibDecoder::new(bytes)
        .take(MAX_CONTENT as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| Fault::damaged("corrupt or truncated MATLAB file", error))?;
    if content.len() > MAX_CONTENT {
        let reason = format!("a MATLAB variable of more than {MAX_CONTENT} bytes");
        return Err(Fault::new("a MATLAB variable of more than N bytes", reason, AGAIN));
    }
    Ok(content)
}

/// The label map in the variable `GTcls`. `None` if `element` is another variable.
fn segmentation(element: &Element, little: bool) -> Result<Option<LabelMap>, Fault> {
    let Some(mut variable) = Matrix::of(element, little)?.filter(|matrix| matrix.name == b"GTcls") else {
        return Ok(None);
    };
    if variable.class != STRUCT_CLASS || variable.size != Some((1, 1)) {
        return Err(Fault::damaged(CORRUPT, "GTcls is no single struct"));
    }
    let width = variable.parts.needed()?;
    let width = usize::try_from(word(width.content, 0, little)?).unwrap_or(usize::MAX);
    let names = variable.parts.needed()?.content;
    if width == 0 || names.len() % width != 0 {
        return Err(Fault::damaged(CORRUPT, "field names"));
    }
    for name in names.chunks_exact(width) {
        let field = variable.parts.needed()?;
        if name.split(|byte| *byte == 0).next() == Some(b"Segmentation") {
            let matrix = Matrix::of(&field, little)?;
            let matrix = matrix.ok_or_else(|| Fault::damaged(CORRUPT, "GTcls.Segmentation is no matrix"))?;
            return matrix.label().map(Some);
        }
    }
    Err(Fault::with("GTcls has no field Segmentation", ", so it is not a file of SBD's dataset/cls", AGAIN))
}

/// The head of a matrix and its remaining parts.
struct Matrix<'a> {
    class: u8,
    /// Rows and columns; `None` if there are more than two dimensions.
    size: Option<(usize, usize)>,
    name: &'a [u8],
    parts: Elements<'a>,
}

impl<'a> Matrix<'a> {
    /// Reads `element` as a matrix. `None` if it is something else.
    fn of(element: &Element<'a>, little: bool) -> Result<Option<Self>, Fault> {
        if element.kind != MATRIX {
            return Ok(None);
        }
        let mut parts = Elements { rest: element.content, little };
        // An empty matrix may have no parts.
        let Some(flags) = parts.next()? else { return Ok(None) };
        let class = (word(flags.content, 0, little)? & 0xff) as u8;
        let sizes = parts.needed()?.content;
        let side = |at| word(sizes, at, little).map(|side| side as usize);
        let size = if sizes.len() == 8 { Some((side(0)?, side(4)?)) } else { None };
        let name = parts.needed()?.content;
        Ok(Some(Self { class, size, name, parts }))
    }

    /// The matrix as a label map. The file stores it column by column.
    fn label(mut self) -> Result<LabelMap, Fault> {
        let (height, width) = match (self.class, self.size) {
            (UINT8_CLASS, Some(size)) => size,
            (UINT8_CLASS, None) => {
                return Err(Fault::damage("GTcls.Segmentation has more than two dimensions"));
            }
            (class, _) => {
                let reason = format!("GTcls.Segmentation is of class {class}, not of uint8");
                return Err(Fault::new("GTcls.Segmentation is of class N", reason, AGAIN));
            }
        };
        let pixels = height.checked_mul(width).filter(|pixels| (1..=MAX_PIXELS).contains(pixels));
        let pixels = pixels.ok_or_else(|| {
            let reason = format!("{width}x{height} pixels; possible are 1 to {MAX_PIXELS}");
            Fault::new("NxN pixels", reason, AGAIN)
        })?;
        let values = self.parts.needed()?;
        if values.kind != UINT8 || values.content.len() != pixels {
            let (bytes, kind) = (values.content.len(), values.kind);
            let detail = format!("{bytes} bytes of kind {kind} for {width}x{height} pixels");
            return Err(Fault::damaged(CORRUPT, detail));
        }
        let mut data = vec![0; pixels];
        for (x, column) in values.content.chunks_exact(height).enumerate() {
            for (y, value) in column.iter().enumerate() {
                data[y * width + x] = *value;
            }
        }
        Ok(LabelMap { width, height, data })
    }
}

/// An element: its type and its content.
struct Element<'a> {
    kind: u32,
    content: &'a [u8],
}

/// A sequence of elements. Each is padded to a multiple of 8 bytes, except compressed ones.
struct Elements<'a> {
    rest: &'a [u8],
    little: bool,
}

impl<'a> Elements<'a> {
    /// The next element; `None` at the end.
    fn next(&mut self) -> Result<Option<Element<'a>>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let first = word(self.rest, 0, self.little)?;
        // The tag itself may contain up to four bytes of content, with their number in its upper
        // half.
        let (kind, start, length, padded) = if first >> 16 == 0 {
            let length = word(self.rest, 4, self.little)? as usize;
            let padded = if first == COMPRESSED { length } else { length.next_multiple_of(8) };
            (first, 8, length, padded)
        } else {
            (first & 0xffff, 4, (first >> 16) as usize, 4)
        };
        let content = self.rest.get(start..start + length).filter(|_| start == 8 || length <= 4);
        let content =
            content.ok_or_else(|| Fault::damaged(TRUNCATED, "an element is longer than the file"))?;
        // The last element may lack its padding.
        self.rest = self.rest.get(start + padded..).unwrap_or_default();
        Ok(Some(Element { kind, content }))
    }

    /// The next element, which must exist.
    fn needed(&mut self) -> Result<Element<'a>, Fault> {
        self.next()?.ok_or_else(|| Fault::damaged(TRUNCATED, "a part is missing"))
    }
}

/// The 32-bit number at `at`.
fn word(bytes: &[u8], at: usize, little: bool) -> Result<u32, Fault> {
    let four: Option<[u8; 4]> = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    let four = four.ok_or_else(|| Fault::damaged(TRUNCATED, "it ends within a number"))?;
    Ok(if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    /// Writes elements, in one byte order.
    #[derive(Clone, Copy)]
    struct Writer {
        little: bool,
    }

    impl Writer {
        fn word(self, value: u32) -> [u8; 4] {
            if self.little { value.to_le_bytes() } else { value.to_be_bytes() }
        }

        fn words(self, values: &[u32]) -> Vec<u8> {
            values.iter().flat_map(|value| self.word(*value)).collect()
        }

        fn element(self, kind: u32, content: &[u8]) -> Vec<u8> {
            let mut bytes = self.words(&[kind, content.len() as u32]);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        }

        fn small(self, kind: u32, content: &[u8]) -> Vec<u8> {
            let mut bytes = self.words(&[(content.len() as u32) << 16 | kind]);
            bytes.extend(content);
            bytes.resize(8, 0);
            bytes
        }

        fn matrix(self, class: u32, size: &[u32], name: &[u8], rest: &[u8]) -> Vec<u8> {
            let parts = [
                self.element(6, &self.words(&[class, 0])),
                self.element(5, &self.words(size)),
                self.element(1, name),
                rest.to_vec(),
            ];
            self.element(MATRIX, &parts.concat())
        }

        fn header(self) -> Vec<u8> {
            let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
            bytes.resize(124, b' ');
            bytes.extend(if self.little { *b"\0\x01IM" } else { *b"\x01\0MI" });
            bytes
        }

        /// A struct `name` with the fields `Other` and `Segmentation`; the second is given.
        fn gtcls(self, name: &[u8], segmentation: &[u8]) -> Vec<u8> {
            let names = b"Other\0\0\0\0\0\0\0\0Segmentation\0";
            let other = self.matrix(6, &[1, 1], b"", &self.element(9, &[0; 8]));
            let rest = [self.small(5, &self.word(13)), self.element(1, names), other, segmentation.to_vec()];
            self.matrix(2, &[1, 1], name, &rest.concat())
        }

        /// Two rows of three: 1 2 3, 4 5 6.
        fn segmentation(self) -> Vec<u8> {
            self.matrix(9, &[2, 3], b"", &self.element(2, &[1, 4, 2, 5, 3, 6]))
        }

        fn compressed(self, element: &[u8]) -> Vec<u8> {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(element).unwrap();
            let stream = encoder.finish().unwrap();
            [self.words(&[COMPRESSED, stream.len() as u32]), stream].concat()
        }

        fn file(self, compressed: bool) -> Vec<u8> {
            let wrap = |element: Vec<u8>| if compressed { self.compressed(&element) } else { element };
            let other = wrap(self.matrix(9, &[1, 1], b"other", &self.small(2, &[7])));
            [self.header(), other, wrap(self.gtcls(b"GTcls", &self.segmentation()))].concat()
        }
    }

    const LITTLE: Writer = Writer { little: true };

    #[test]
    fn columns_become_rows_in_either_byte_order_compressed_or_not() {
        for (little, compressed) in [(true, true), (true, false), (false, true), (false, false)] {
            let found = label(&Writer { little }.file(compressed)).unwrap();
            assert_eq!(found, LabelMap { width: 3, height: 2, data: vec![1, 2, 3, 4, 5, 6] });
        }
    }

    #[test]
    fn no_beginning_of_a_file_is_read_and_no_flipped_bit_panics() {
        for compressed in [true, false] {
            let whole = LITTLE.file(compressed);
            // If nothing is compressed, the last bytes are padding and may be missing.
            let needed = if compressed { whole.len() } else { whole.len() - 2 };
            for end in 0..needed {
                assert!(label(&whole[..end]).is_err(), "{end} of {} bytes, {compressed}", whole.len());
            }
            let right = label(&whole);
            // From the compressed content of the last element on, a checksum detects changes that
            // the format itself does not.
            let checked = whole.len() - 60;
            for bit in 0..8 * whole.len() {
                let mut changed = whole.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let found = label(&changed);
                let sure = !compressed || bit / 8 < checked || found.is_err() || found == right;
                assert!(sure, "bit {bit} of {} bytes: {found:?}", whole.len());
            }
        }
    }

    #[test]
    fn invalid_label_maps_are_named() {
        let file = |element: Vec<u8>| label(&[LITTLE.header(), element].concat()).unwrap_err().reason;
        let with = |segmentation: &[u8]| file(LITTLE.gtcls(b"GTcls", segmentation));
        let values = LITTLE.element(2, &[0; 6]);
        for (found, part) in [
            (file(LITTLE.gtcls(b"GTinst", &LITTLE.segmentation())), "no variable GTcls"),
            (file(LITTLE.matrix(9, &[1, 1], b"GTcls", &values)), "no single struct"),
            (with(&LITTLE.matrix(6, &[2, 3], b"", &values)), "class 6"),
            (with(&LITTLE.matrix(9, &[2, 4], b"", &values)), "6 bytes"),
            (with(&LITTLE.matrix(9, &[2, 3, 1], b"", &values)), "more than two dimensions"),
            (with(&LITTLE.matrix(9, &[0, 3], b"", &values)), "3x0 pixels"),
            (with(&LITTLE.matrix(9, &[u32::MAX, u32::MAX], b"", &values)), "possible are 1 to"),
            (label(b"").unwrap_err().reason, "is empty"),
            (label(&[b' '; 200]).unwrap_err().reason, "no MATLAB 5 file"),
        ] {
            assert!(found.contains(part), "{found} has no {part}");
        }
    }

    #[test]
    fn a_stream_that_grows_without_bound_is_refused() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let block = vec![0; 1 << 20];
        for _ in 0..=MAX_CONTENT >> 20 {
            encoder.write_all(&block).unwrap();
        }
        let refused = inflate(&encoder.finish().unwrap()).unwrap_err().reason;
        assert!(refused.contains("more than"), "{refused}");
    }
}
