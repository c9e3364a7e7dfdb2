//! JPEG through `zune-jpeg`. Decoders fill missing data with gray and report success. Therefore the
//! file's markers are first followed to its end, which also gives the size before any memory is
//! allocated. The compressed data are then followed by bits that cannot continue a picture.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::exif::Orientation;
use super::fault::{self, Fault};
use super::size::check_size;
use crate::image::Image;

/// The kind of most faults.
const CORRUPT: &str = "corrupt JPEG";

fn truncated() -> Fault {
    Fault::damaged("truncated JPEG", "it ends before its end marker")
}

/// Decodes a whole JPEG.
pub(super) fn image(bytes: &[u8]) -> Result<Image, Fault> {
    decode(bytes, &Header::read(bytes)?, Vec::new())
}

/// Decodes a whole JPEG with this header, into `buffer` unless it must be rotated.
pub(super) fn decode(bytes: &[u8], header: &Header, mut buffer: Vec<u8>) -> Result<Image, Fault> {
    check_size(header.width, header.height)?;
    if !matches!(header.components, 1 | 3) {
        let reason = format!(
            "JPEG of {} components (CMYK?); only gray and RGB are read, convert it",
            header.components
        );
        return Err(Fault::new("JPEG of N components (CMYK?)", reason, fault::CONVERT));
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(header.width)
        .set_max_height(header.height)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    // No Huffman code consists of one bits only. A decoder that lacks data reads them and fails.
    // With the end marker alone, it would invent zero bits for all missing data.
    let (whole, rest) = bytes.split_at(header.scan_end);
    let guarded = [whole, &[0xff, 0].repeat(16), rest].concat();
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(guarded), options);
    let broken = |error: DecodeErrors| Fault::damaged(CORRUPT, error.to_string().trim_matches('"'));
    decoder.decode_headers().map_err(broken)?;
    let pixels = header.width * header.height * 3;
    let found = decoder.output_buffer_size().unwrap_or(0);
    if found != pixels {
        return Err(Fault::damaged(CORRUPT, format!("{found} bytes of pixels")));
    }
    buffer.resize(pixels, 0);
    decoder.decode_into(&mut buffer).map_err(broken)?;
    let (width, height, data) = header.orientation.turn(buffer, header.width, header.height, 3);
    Ok(Image { width, height, data })
}

/// The content of a JPEG's markers.
#[derive(Debug)]
pub(super) struct Header {
    width: usize,
    height: usize,
    components: u8,
    orientation: Orientation,
    /// The end of the last scan's compressed data.
    scan_end: usize,
}

impl Header {
    /// Width and height, as displayed.
    pub(super) fn size(&self) -> (usize, usize) {
        self.orientation.size(self.width, self.height)
    }

    /// Follows all markers to the end of the picture. Anything after it does not matter.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let (mut frame, mut scan_end) = (None, None);
        let mut orientation = Orientation::UPRIGHT;
        let mut at = 2;
        loop {
            let (marker, after) = next_marker(bytes, at)?;
            at = after;
            if marker == END {
                break;
            }
            if is_alone(marker) {
                continue;
            }
            let length: [u8; 2] =
                bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).ok_or_else(truncated)?;
            let end = at + usize::from(u16::from_be_bytes(length));
            let segment = bytes.get(at + 2..end.max(at + 2)).ok_or_else(truncated)?;
            at = end.max(at + 2);
            match (marker, segment) {
                (
                    0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf,
                    [_, h0, h1, w0, w1, components, ..],
                ) => {
                    let side = |high, low| usize::from(u16::from_be_bytes([high, low]));
                    frame.get_or_insert((side(*w0, *w1), side(*h0, *h1), *components));
                }
                (APP1, [b'E', b'x', b'i', b'f', 0, _, tiff @ ..]) => orientation = Orientation::of_tiff(tiff),
                (SCAN, _) => {
                    at = end_of_scan(bytes, at).ok_or_else(truncated)?;
                    scan_end = Some(at);
                }
                _ => {}
            }
        }
        let (width, height, components) = frame.ok_or_else(|| Fault::damaged(CORRUPT, "no frame header"))?;
        let scan_end = scan_end.ok_or_else(|| Fault::damaged(CORRUPT, "no scan"))?;
        Ok(Self { width, height, components, orientation, scan_end })
    }
}

/// The orientation in the markers before the first scan. `bytes` may be only the beginning of the
/// JPEG.
pub(super) fn orientation(bytes: &[u8]) -> Option<Orientation> {
    let mut at = 2;
    loop {
        let (marker, after) = next_marker(bytes, at).ok()?;
        at = after;
        if is_alone(marker) {
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        match (marker, bytes.get(at + 2..at + length)?) {
            (END | SCAN, _) => return None,
            (APP1, [b'E', b'x', b'i', b'f', 0, _, tiff @ ..]) => return Some(Orientation::of_tiff(tiff)),
            _ => at += length,
        }
    }
}

const APP1: u8 = 0xe1;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

/// Whether a marker has no segment: restarts, a second start, TEM.
fn is_alone(marker: u8) -> bool {
    matches!(marker, 0x01 | 0xd0..=0xd8)
}

/// The marker at `at`, after any fill bytes, and the position after it.
fn next_marker(bytes: &[u8], at: usize) -> Result<(u8, usize), Fault> {
    let rest = bytes.get(at..).unwrap_or_default();
    let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
    match rest.get(fill) {
        None => Err(truncated()),
        Some(_) if fill == 0 => Err(Fault::damaged(CORRUPT, format!("no marker at byte {at}"))),
        Some(marker) => Ok((*marker, at + fill + 1)),
    }
}

/// The position of the first marker after a scan's compressed data.
fn end_of_scan(bytes: &[u8], at: usize) -> Option<usize> {
    let data = &bytes[at..];
    let found =
        data.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff));
    found.map(|offset| at + offset)
}
