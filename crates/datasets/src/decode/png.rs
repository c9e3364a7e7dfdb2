//! PNG, with palette indices and small bit depths as stored in the file.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Transformations};

use super::exif::Orientation;
use super::fault::{self, Fault};
use super::ids::Ids;
use super::size::check_size;
use crate::image::{Image, LabelMap};

/// The kind of faults that the decoder does not detect.
const CORRUPT: &str = "corrupt PNG";

/// Decodes a PNG as RGB.
pub(super) fn image(bytes: &[u8]) -> Result<Image, Fault> {
    let raw = Raw::decode(bytes)?;
    let (width, height, orientation) = (raw.width, raw.height, raw.orientation);
    let (width, height, data) = orientation.turn(raw.rgb()?, width, height, 3);
    Ok(Image { width, height, data })
}

/// Decodes a PNG as ids.
pub(super) fn ids(bytes: &[u8]) -> Result<Ids, Fault> {
    let mut raw = Raw::decode(bytes)?;
    let palette = std::mem::take(&mut raw.palette);
    let (width, height, orientation) = (raw.width, raw.height, raw.orientation);
    let (width, height, data) = orientation.turn(raw.ids()?, width, height, 1);
    Ok(Ids { map: LabelMap { width, height, data }, palette })
}

/// Decodes a PNG with meaningful colours.
pub(super) fn colours(bytes: &[u8]) -> Result<Image, Fault> {
    let raw = Raw::decode(bytes)?;
    let (width, height, orientation) = (raw.width, raw.height, raw.orientation);
    let (width, height, data) = orientation.turn(raw.exact_rgb()?, width, height, 3);
    Ok(Image { width, height, data })
}

/// Decodes `rows` of a PNG that has a [`plain_size`] as RGB.
pub(super) fn image_rows(bytes: &[u8], rows: Range<usize>, buffer: Vec<u8>) -> Result<Vec<u8>, Fault> {
    Raw::decode_rows(bytes, rows, buffer)?.rgb()
}

/// Decodes `rows` of a PNG that has a [`plain_size`] as ids.
pub(super) fn label_rows(bytes: &[u8], rows: Range<usize>, buffer: Vec<u8>) -> Result<Ids, Fault> {
    let mut raw = Raw::decode_rows(bytes, rows.clone(), buffer)?;
    let (width, palette) = (raw.width, std::mem::take(&mut raw.palette));
    Ok(Ids { map: LabelMap { width, height: rows.len(), data: raw.ids()? }, palette })
}

/// Decodes `rows` of a PNG that has a [`plain_size`] as meaningful colours.
pub(super) fn colour_rows(bytes: &[u8], rows: Range<usize>, buffer: Vec<u8>) -> Result<Vec<u8>, Fault> {
    Raw::decode_rows(bytes, rows, buffer)?.exact_rgb()
}

/// Bytes of a PNG's signature, and of a chunk without its content: length, name, CRC.
const SIGNATURE: usize = 8;
const AROUND_CHUNK: usize = 12;

/// Width and height of a PNG whose rows can be decoded separately: not interlaced, not rotated, not
/// animated, and complete. Verifies to the end that no chunk is cut off or has a wrong CRC, so that
/// damage is detected without decoding the whole file. `None` for all other files.
pub(super) fn plain_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let header = bytes.get(SIGNATURE + 4..)?.strip_prefix(b"IHDR")?.first_chunk::<13>()?;
    let side = |at: usize| Some(u32::from_be_bytes(*header[at..].first_chunk()?) as usize);
    let (width, height, interlaced) = (side(0)?, side(4)?, header[12]);
    check_size(width, height).ok()?;
    let mut at = SIGNATURE;
    loop {
        let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
        let chunk = bytes.get(at..)?.get(..length.checked_add(AROUND_CHUNK)?)?;
        let (content, crc) = chunk[4..].split_at(4 + length);
        let name = &content[..4];
        if crc != crc32fast::hash(content).to_be_bytes() || matches!(name, b"eXIf" | b"acTL") {
            return None;
        }
        if name == b"IEND" {
            return (interlaced == 0).then_some((width, height));
        }
        at += chunk.len();
    }
}

/// The orientation in the chunks of a PNG. Skips their contents.
pub(super) fn orientation(mut file: impl Read + Seek) -> Option<Orientation> {
    file.seek(SeekFrom::Start(SIGNATURE as u64)).ok()?;
    loop {
        let mut head = [0; 8];
        file.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes(*head.first_chunk()?);
        match &head[4..] {
            b"eXIf" => {
                let mut tiff = Vec::new();
                file.take(u64::from(length)).read_to_end(&mut tiff).ok()?;
                return Some(Orientation::of_tiff(&tiff));
            }
            b"IEND" => return None,
            _ => file.seek_relative(i64::from(length) + 4).ok()?,
        }
    }
}

/// The values of a PNG or of some of its rows: one byte each, or two (high byte first) at 16 bits.
struct Raw {
    width: usize,
    height: usize,
    color: ColorType,
    depth: BitDepth,
    palette: Vec<u8>,
    orientation: Orientation,
    data: Vec<u8>,
}

impl Raw {
    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut decoder = decoder(bytes, false);
        let header = decoder.read_header_info().map_err(broken)?;
        let (width, height) = (header.width as usize, header.height as usize);
        check_size(width, height)?;
        let mut reader = decoder.read_info().map_err(broken)?;
        let size = reader.output_buffer_size().ok_or_else(too_large)?;
        let mut data = vec![0; size];
        let frame = reader.next_frame(&mut data).map_err(broken)?;
        if (frame.width as usize, frame.height as usize) != (width, height) {
            let frame = format!("{}x{}", frame.width, frame.height);
            return Err(Fault::damaged(CORRUPT, format!("a frame of {frame} in {width}x{height}")));
        }
        reader.finish().map_err(broken)?;
        Ok(Self::new(reader.info(), frame.line_size, data))
    }

    /// Decodes up to the end of `rows` and keeps only these, in `buffer`. The PNG must be plain.
    fn decode_rows(bytes: &[u8], rows: Range<usize>, mut buffer: Vec<u8>) -> Result<Self, Fault> {
        // The chunks' CRCs were verified together with the size.
        let mut reader = decoder(bytes, true).read_info().map_err(broken)?;
        let line = reader.output_line_size(reader.info().width).ok_or_else(too_large)?;
        buffer.resize(line * rows.len().max(1), 0);
        for row in 0..rows.end {
            // Earlier rows are needed only to predict the next ones, which overwrite them.
            let start = row.saturating_sub(rows.start) * line;
            reader
                .read_row(&mut buffer[start..start + line])
                .map_err(broken)?
                .ok_or_else(|| Fault::damage("PNG with too few rows"))?;
        }
        buffer.truncate(line * rows.len());
        Ok(Self::new(reader.info(), line, buffer))
    }

    /// From rows of `line` bytes, as stored in a PNG with this `info`.
    fn new(info: &png::Info<'_>, line: usize, mut data: Vec<u8>) -> Self {
        let (width, height) = (info.width as usize, info.height as usize);
        let (color, depth) = (info.color_type, info.bit_depth);
        if (depth as u8) < 8 {
            data = unpack(&data, line, width * color.samples(), depth as u8);
        }
        // In other kinds of PNG, a palette is only a suggestion.
        let palette = info.palette.as_deref().filter(|_| color == ColorType::Indexed);
        let palette = palette.unwrap_or_default().to_vec();
        let exif = info.exif_metadata.as_deref();
        let orientation = exif.map_or(Orientation::UPRIGHT, Orientation::of_tiff);
        Self { width, height, color, depth, palette, orientation, data }
    }

    /// The colours, three bytes per pixel.
    fn rgb(self) -> Result<Vec<u8>, Fault> {
        let values = match self.depth {
            BitDepth::Sixteen => self.data.iter().copied().step_by(2).collect(),
            _ => self.data,
        };
        Ok(match self.color {
            ColorType::Rgb => values,
            ColorType::Rgba => values.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
            ColorType::Grayscale => {
                let unit = if (self.depth as u8) < 8 { 255 / ((1 << self.depth as u8) - 1) } else { 1 };
                values.iter().flat_map(|gray| [gray * unit; 3]).collect()
            }
            ColorType::GrayscaleAlpha => values.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
            ColorType::Indexed => {
                let mut data = Vec::with_capacity(values.len() * 3);
                for index in values {
                    let colour = self.palette.get(usize::from(index) * 3..).and_then(|rest| rest.get(..3));
                    data.extend_from_slice(colour.ok_or_else(|| {
                        let colours = self.palette.len() / 3;
                        Fault::damaged(CORRUPT, format!("index {index} in a palette of {colours} colours"))
                    })?);
                }
                data
            }
        })
    }

    /// The colours, three bytes per pixel, if that loses nothing.
    fn exact_rgb(self) -> Result<Vec<u8>, Fault> {
        if self.depth == BitDepth::Sixteen {
            let reason = "PNG of 16 bits is no map of colours; store 8 bits a channel";
            return Err(Fault::new("PNG of N bits is no map of colours", reason, fault::CONVERT));
        }
        let channels = self.color.samples();
        let has_alpha = matches!(self.color, ColorType::Rgba | ColorType::GrayscaleAlpha);
        if has_alpha && self.data.chunks_exact(channels).any(|pixel| pixel[channels - 1] != u8::MAX) {
            return Err(Fault::with(
                "PNG with transparent pixels is no map of colours",
                "; store RGB",
                "store these files as RGB: what is transparent has no sure colour",
            ));
        }
        self.rgb()
    }

    /// The ids, one byte per pixel.
    fn ids(self) -> Result<Vec<u8>, Fault> {
        if !matches!(self.color, ColorType::Grayscale | ColorType::Indexed) {
            let kind = format!("PNG of kind {:?} is no label map", self.color);
            let has_colour = matches!(self.color, ColorType::Rgb | ColorType::Rgba);
            let advice = if has_colour { fault::BY_COLOUR } else { fault::AS_GRAY };
            return Err(Fault::with(&kind, "; store one id a pixel, as gray or palette PNG", advice));
        }
        if self.depth == BitDepth::Sixteen {
            if let Some(wide) = self.data.chunks_exact(2).find(|value| value[0] != 0) {
                let id = u16::from_be_bytes([wide[0], wide[1]]);
                let reason = format!("id {id} is above 255");
                return Err(Fault::new("id N is above N", reason, "renumber the values to 0 to 255"));
            }
            return Ok(self.data.iter().copied().skip(1).step_by(2).collect());
        }
        Ok(self.data)
    }
}

/// A decoder that changes no values. `verified` means that the chunks' CRCs were already checked.
fn decoder(bytes: &[u8], verified: bool) -> Decoder<Cursor<&[u8]>> {
    let mut options = DecodeOptions::default();
    options.set_ignore_checksums(false);
    options.set_ignore_crc(verified);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_transformations(Transformations::IDENTITY);
    decoder
}

#[allow(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn broken(error: DecodingError) -> Fault {
    Fault::damaged("corrupt or truncated PNG", error)
}

fn too_large() -> Fault {
    Fault::damage("PNG too large for this machine")
}

/// Unpacks rows of `line` bytes with values of less than 8 bits, highest bits first, to one byte
/// each.
fn unpack(packed: &[u8], line: usize, values: usize, bits: u8) -> Vec<u8> {
    let each = usize::from(8 / bits);
    let value = |row: &[u8], at: usize| {
        let shift = 8 - bits * (1 + (at % each) as u8);
        row[at / each] >> shift & ((1 << bits) - 1)
    };
    packed.chunks_exact(line).flat_map(|row| (0..values).map(move |at| value(row, at))).collect()
}
