//! Reads images for the network, and writes predictions as palette PNGs and overlays.

use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use robustseg_datasets::Image;

/// The decoded image at `path`.
pub(crate) fn read(path: &Path) -> anyhow::Result<Image> {
    Ok(robustseg_datasets::read_image(path)?)
}

/// An image in the network's format: (1, 3, H, W) in `[0, 1]`.
pub(crate) fn tensor(image: &Image, device: &Device) -> anyhow::Result<Tensor> {
    let pixels = Tensor::from_slice(&image.data, (1, image.height, image.width, 3), device)?;
    Ok((pixels.permute((0, 3, 1, 2))?.to_dtype(DType::F32)? / 255.0)?.contiguous()?)
}

/// The first image of (N, 3, H, W) in `[0, 1]`, rounded to 8 bits.
pub(crate) fn rounded(image: &Tensor) -> anyhow::Result<Image> {
    let (_, _, height, width) = image.dims4()?;
    let values: Vec<f32> = image.get(0)?.permute((1, 2, 0))?.flatten_all()?.to_vec1()?;
    let data = values.into_iter().map(|value| (value * 255.0).round() as u8).collect();
    Ok(Image { width, height, data })
}

/// PASCAL VOC's colours: the bits of the class are spread over the channels, highest bit first.
pub(crate) fn default_palette() -> Vec<[u8; 3]> {
    let channel = |class: usize, shift: usize| {
        (0..3).fold(0_u8, |sum, group| sum | ((class >> (3 * group + shift) & 1) as u8) << (7 - group))
    };
    (0..256).map(|class| [channel(class, 0), channel(class, 1), channel(class, 2)]).collect()
}

/// `image` blended half and half with the colours of `labels`.
pub(crate) fn overlay(image: &Image, labels: &[u8], palette: &[[u8; 3]]) -> Image {
    let colour = |label: u8| palette.get(usize::from(label)).copied().unwrap_or([255; 3]);
    let pixels = image.data.chunks_exact(3).zip(labels);
    let mixed = pixels.flat_map(|(pixel, label)| {
        let colour = colour(*label);
        [0, 1, 2].map(|channel| u8::midpoint(pixel[channel], colour[channel]))
    });
    Image { data: mixed.collect(), ..*image }
}

/// A PNG of `labels`, row by row, with pixels as indices into `palette`.
pub(crate) fn label_png(
    labels: &[u8],
    width: usize,
    height: usize,
    palette: &[[u8; 3]],
) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    // Every value needs a colour. Classes beyond the palette and 255 are white.
    let colours = (0..256).flat_map(|index| palette.get(index).copied().unwrap_or([255; 3]));
    encoder.set_palette(colours.collect::<Vec<u8>>());
    encoder.write_header()?.write_image_data(labels).context("encoding a label map")?;
    Ok(bytes)
}

/// A PNG of an RGB picture.
pub(crate) fn rgb_png(image: &Image) -> anyhow::Result<Vec<u8>> {
    encode_rgb(image, None)
}

/// A PNG of an RGB picture that records the command that made it, for [`is_made_by`].
pub(crate) fn marked_png(image: &Image, command: &str) -> anyhow::Result<Vec<u8>> {
    encode_rgb(image, Some(mark(image, command)))
}

/// Whether `bytes` are a PNG that [`marked_png`] made for `command`, with its picture unchanged.
pub(crate) fn is_made_by(bytes: &[u8], command: &str) -> bool {
    let Ok(mut reader) = png::Decoder::new(std::io::Cursor::new(bytes)).read_info() else { return false };
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    let marks = info.uncompressed_latin1_text.iter().filter(|text| text.keyword == MARK);
    let marks: Vec<String> = marks.map(|text| text.text.clone()).collect();
    let Some(size) = reader.output_buffer_size().filter(|size| *size == width * height * 3) else {
        return false;
    };
    let mut data = vec![0; size];
    let whole = !marks.is_empty() && reader.next_frame(&mut data).is_ok();
    whole && marks.contains(&mark(&Image { width, height, data }, command))
}

/// The keyword of the text with the command.
const MARK: &str = "Software";

/// The text: the command and the SHA-256 of the pixels.
fn mark(image: &Image, command: &str) -> String {
    format!("robustseg {command}, pixels {}", robustseg_files::sha256(&image.data))
}

fn encode_rgb(image: &Image, mark: Option<String>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder =
        png::Encoder::new(&mut bytes, u32::try_from(image.width)?, u32::try_from(image.height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    if let Some(mark) = mark {
        encoder.add_text_chunk(MARK.into(), mark)?;
    }
    encoder.write_header()?.write_image_data(&image.data).context("encoding a picture")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_palette_is_vocs() {
        let palette = default_palette();
        assert_eq!(palette[0], [0, 0, 0]);
        assert_eq!(palette[1], [128, 0, 0]);
        assert_eq!(palette[15], [192, 128, 128]);
        assert_eq!(palette[20], [0, 64, 128]);
        assert_eq!(palette[255], [224, 224, 192]);
    }

    #[test]
    fn a_label_map_keeps_its_indices() {
        let labels = [0, 1, 20, 255, 7, 7];
        let bytes = label_png(&labels, 3, 2, &default_palette()).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().unwrap();
        let mut found = [0; 6];
        reader.next_frame(&mut found).unwrap();
        assert_eq!(found, labels);
    }

    #[test]
    fn a_marked_picture_is_known_until_it_is_changed() {
        let image = Image { width: 2, height: 1, data: vec![0, 100, 200, 10, 20, 30] };
        let bytes = marked_png(&image, "data preview").unwrap();
        assert!(is_made_by(&bytes, "data preview") && !is_made_by(&bytes, "predict"));
        assert!(
            !is_made_by(&rgb_png(&image).unwrap(), "data preview") && !is_made_by(b"text", "data preview")
        );
        let painted = Image { data: vec![1, 100, 200, 10, 20, 30], ..image.clone() };
        let painted = encode_rgb(&painted, Some(mark(&image, "data preview"))).unwrap();
        assert!(!is_made_by(&painted, "data preview"));
    }

    #[test]
    fn an_overlay_is_half_image_half_colour() {
        let image = Image { width: 2, height: 1, data: vec![0, 100, 200, 10, 20, 30] };
        let mixed = overlay(&image, &[1, 0], &[[0, 0, 0], [128, 0, 0]]);
        assert_eq!(mixed.data, [64, 50, 100, 5, 10, 15]);
    }
}
