//! PNG, with palette indices and small bit depths as the file has them.

use std::io::Cursor;
use std::ops::Range;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Transformations};

use super::check_size;
use super::exif::Orientation;
use crate::{Image, LabelMap};

/// Decodes a PNG as RGB.
pub(super) fn image(bytes: &[u8]) -> Result<Image, String> {
    let raw = Raw::decode(bytes)?;
    let (width, height, orientation) = (raw.width, raw.height, raw.orientation);
    let (width, height, data) = orientation.turn(raw.rgb()?, width, height, 3);
    Ok(Image { width, height, data })
}

/// Decodes a PNG as ids.
pub(super) fn label(bytes: &[u8]) -> Result<LabelMap, String> {
    let raw = Raw::decode(bytes)?;
    let (width, height, orientation) = (raw.width, raw.height, raw.orientation);
    let (width, height, data) = orientation.turn(raw.ids()?, width, height, 1);
    Ok(LabelMap { width, height, data })
}

/// Decodes `rows` of a PNG that has a [`plain_size`] as RGB.
pub(super) fn image_rows(bytes: &[u8], rows: Range<usize>, buffer: Vec<u8>) -> Result<Vec<u8>, String> {
    Raw::decode_rows(bytes, rows, buffer)?.rgb()
}

/// Decodes `rows` of a PNG that has a [`plain_size`] as ids.
pub(super) fn label_rows(bytes: &[u8], rows: Range<usize>, buffer: Vec<u8>) -> Result<Vec<u8>, String> {
    Raw::decode_rows(bytes, rows, buffer)?.ids()
}

/// Bytes of a PNG's signature, and of a chunk besides its content: length, name, CRC.
const SIGNATURE: usize = 8;
const AROUND_CHUNK: usize = 12;

/// Width and height of a PNG whose rows may be decoded alone: not interlaced, not turned, not animated, and whole. That
/// no chunk is cut off or has a wrong CRC is verified to the end, so that what is wrong with a file is noticed without
/// decoding all of it. `None` for all others.
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

/// A PNG's values, or those of some rows: one byte each, two (the high one first) at 16 bits.
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
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut decoder = decoder(bytes, false);
        let header = decoder.read_header_info().map_err(fault)?;
        let (width, height) = (header.width as usize, header.height as usize);
        check_size(width, height)?;
        let mut reader = decoder.read_info().map_err(fault)?;
        let size = reader.output_buffer_size().ok_or("PNG too large for this machine")?;
        let mut data = vec![0; size];
        let frame = reader.next_frame(&mut data).map_err(fault)?;
        if (frame.width as usize, frame.height as usize) != (width, height) {
            return Err(format!(
                "corrupt PNG: a frame of {}x{} in {width}x{height}",
                frame.width, frame.height
            ));
        }
        reader.finish().map_err(fault)?;
        Ok(Self::new(reader.info(), frame.line_size, data))
    }

    /// Decodes no further than to the end of `rows`, and keeps these alone, in `buffer`. Of a PNG that is plain.
    fn decode_rows(bytes: &[u8], rows: Range<usize>, mut buffer: Vec<u8>) -> Result<Self, String> {
        // The chunks' CRCs were verified together with the size.
        let mut reader = decoder(bytes, true).read_info().map_err(fault)?;
        let line = reader.output_line_size(reader.info().width).ok_or("PNG too large for this machine")?;
        buffer.resize(line * rows.len().max(1), 0);
        for row in 0..rows.end {
            // Rows that come before are the next ones' predictions, and are overwritten by them.
            let start = row.saturating_sub(rows.start) * line;
            reader
                .read_row(&mut buffer[start..start + line])
                .map_err(fault)?
                .ok_or("PNG with too few rows")?;
        }
        buffer.truncate(line * rows.len());
        Ok(Self::new(reader.info(), line, buffer))
    }

    /// Of rows of `line` bytes as a PNG with this `info` has them.
    fn new(info: &png::Info<'_>, line: usize, mut data: Vec<u8>) -> Self {
        let (width, height) = (info.width as usize, info.height as usize);
        let (color, depth) = (info.color_type, info.bit_depth);
        if (depth as u8) < 8 {
            data = unpack(&data, line, width * color.samples(), depth as u8);
        }
        let palette = info.palette.as_deref().unwrap_or_default().to_vec();
        let exif = info.exif_metadata.as_deref();
        let orientation = exif.map_or(Orientation::UPRIGHT, Orientation::of_tiff);
        Self { width, height, color, depth, palette, orientation, data }
    }

    /// Its colours, three bytes a pixel.
    fn rgb(self) -> Result<Vec<u8>, String> {
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
                        format!(
                            "corrupt PNG: index {index} in a palette of {} colours",
                            self.palette.len() / 3
                        )
                    })?);
                }
                data
            }
        })
    }

    /// Its ids, a byte a pixel.
    fn ids(self) -> Result<Vec<u8>, String> {
        if !matches!(self.color, ColorType::Grayscale | ColorType::Indexed) {
            return Err(format!(
                "PNG of kind {:?} is no label map; store one id a pixel, as gray or palette PNG",
                self.color
            ));
        }
        if self.depth == BitDepth::Sixteen {
            if let Some(wide) = self.data.chunks_exact(2).find(|value| value[0] != 0) {
                return Err(format!("id {} is above 255", u16::from_be_bytes([wide[0], wide[1]])));
            }
            return Ok(self.data.iter().copied().skip(1).step_by(2).collect());
        }
        Ok(self.data)
    }
}

/// A decoder that changes no value. `verified` says that the chunks' CRCs need no second look.
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
fn fault(error: DecodingError) -> String {
    format!("corrupt or truncated PNG: {error}")
}

/// Rows of `line` bytes with values of less than 8 bits, the highest bits first, to one byte each.
fn unpack(packed: &[u8], line: usize, values: usize, bits: u8) -> Vec<u8> {
    let each = usize::from(8 / bits);
    let value = |row: &[u8], at: usize| {
        let shift = 8 - bits * (1 + (at % each) as u8);
        row[at / each] >> shift & ((1 << bits) - 1)
    };
    packed.chunks_exact(line).flat_map(|row| (0..values).map(move |at| value(row, at))).collect()
}
