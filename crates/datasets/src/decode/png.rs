//! PNG, with palette indices and small bit depths as the file has them.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, Transformations};

use super::check_size;
use super::exif::Orientation;
use crate::{Image, LabelMap};

/// Decodes a PNG as RGB.
pub(super) fn image(bytes: &[u8]) -> Result<Image, String> {
    let raw = Raw::decode(bytes)?;
    let pixels = raw.width * raw.height;
    let values = match raw.depth {
        BitDepth::Sixteen => raw.data.iter().copied().step_by(2).collect(),
        _ => raw.data,
    };
    let mut data = Vec::with_capacity(pixels * 3);
    match raw.color {
        ColorType::Rgb => data = values,
        ColorType::Rgba => data.extend(values.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]])),
        ColorType::Grayscale => {
            let unit = if (raw.depth as u8) < 8 { 255 / ((1 << raw.depth as u8) - 1) } else { 1 };
            data.extend(values.iter().flat_map(|gray| [gray * unit; 3]));
        }
        ColorType::GrayscaleAlpha => data.extend(values.chunks_exact(2).flat_map(|p| [p[0]; 3])),
        ColorType::Indexed => {
            for index in values {
                let colour = raw.palette.get(usize::from(index) * 3..).and_then(|rest| rest.get(..3));
                data.extend_from_slice(colour.ok_or_else(|| {
                    format!("corrupt PNG: index {index} in a palette of {} colours", raw.palette.len() / 3)
                })?);
            }
        }
    }
    let (width, height, data) = raw.orientation.turn(data, raw.width, raw.height, 3);
    Ok(Image { width, height, data })
}

/// Decodes a PNG as ids.
pub(super) fn label(bytes: &[u8]) -> Result<LabelMap, String> {
    let raw = Raw::decode(bytes)?;
    if !matches!(raw.color, ColorType::Grayscale | ColorType::Indexed) {
        return Err(format!(
            "PNG of kind {:?} is no label map; store one id a pixel, as gray or palette PNG",
            raw.color
        ));
    }
    let data = if raw.depth == BitDepth::Sixteen {
        if let Some(wide) = raw.data.chunks_exact(2).find(|value| value[0] != 0) {
            return Err(format!("id {} is above 255", u16::from_be_bytes([wide[0], wide[1]])));
        }
        raw.data.iter().copied().skip(1).step_by(2).collect()
    } else {
        raw.data
    };
    let (width, height, data) = raw.orientation.turn(data, raw.width, raw.height, 1);
    Ok(LabelMap { width, height, data })
}

/// A PNG's values: one byte each, two (the high one first) at 16 bits.
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
        let fault = |error| format!("corrupt or truncated PNG: {error}");
        let mut options = DecodeOptions::default();
        options.set_ignore_checksums(false);
        options.set_ignore_text_chunk(true);
        options.set_ignore_iccp_chunk(true);
        let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
        decoder.set_transformations(Transformations::IDENTITY);
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
        let info = reader.info();
        let (color, depth) = (info.color_type, info.bit_depth);
        if (depth as u8) < 8 {
            data = unpack(&data, frame.line_size, width * color.samples(), depth as u8);
        }
        let palette = info.palette.as_deref().unwrap_or_default().to_vec();
        let exif = info.exif_metadata.as_deref();
        let orientation = exif.map_or(Orientation::UPRIGHT, Orientation::of_tiff);
        Ok(Self { width, height, color, depth, palette, orientation, data })
    }
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
