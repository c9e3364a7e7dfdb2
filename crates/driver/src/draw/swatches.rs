//! A legend of colours as a picture.

use robustseg_datasets::Image;

use super::font::is_ink;

/// Pixels of a letter's pixel.
const SCALE: usize = 2;

/// Height of a line and width of its colour, in pixels.
const LINE: usize = 20;
const COLOUR: usize = 28;

/// The colours with their names on white, in columns that fill `width` if they can.
pub fn swatches(entries: &[([u8; 3], String)], width: usize) -> Image {
    let longest = entries.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
    let column = COLOUR + 3 * SCALE + 4 * SCALE * (longest + 1);
    let columns = (width / column).clamp(1, entries.len().max(1));
    let (width, height) = (width.max(column), LINE * entries.len().div_ceil(columns));
    let mut picture = Image { width, height, data: vec![255; 3 * width * height] };
    for (index, (colour, name)) in entries.iter().enumerate() {
        let (left, top) = (index % columns * column, index / columns * LINE);
        let letters: Vec<char> = name.chars().collect();
        for y in 2..LINE - 2 {
            for x in 0..COLOUR {
                let is_edge = x == 0 || x == COLOUR - 1 || y == 2 || y == LINE - 3;
                put(&mut picture, left + x, top + y, if is_edge { [60; 3] } else { *colour });
            }
        }
        let (start, above) = (left + COLOUR + 3 * SCALE, (LINE - 5 * SCALE) / 2);
        for y in 0..5 * SCALE {
            for x in 0..4 * SCALE * letters.len() {
                if is_ink(&letters, x / SCALE, y / SCALE) {
                    put(&mut picture, start + x, top + above + y, [40; 3]);
                }
            }
        }
    }
    picture
}

fn put(picture: &mut Image, x: usize, y: usize, colour: [u8; 3]) {
    let at = 3 * (y * picture.width + x);
    if let Some(pixel) = picture.data.get_mut(at..at + 3).filter(|_| x < picture.width) {
        pixel.copy_from_slice(&colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_is_there_in_as_many_lines_as_needed() {
        let entries: Vec<([u8; 3], String)> = (0..5).map(|i| ([i, 100, 200], format!("class {i}"))).collect();
        let has =
            |picture: &Image, colour: [u8; 3]| picture.data.chunks_exact(3).any(|pixel| pixel == colour);
        for (width, lines) in [(10, 5), (220, 3), (5000, 1)] {
            let picture = swatches(&entries, width);
            assert_eq!(picture.height, lines * LINE, "{width}");
            assert!(picture.width >= width);
            assert!(entries.iter().all(|(colour, _)| has(&picture, *colour)) && has(&picture, [40; 3]));
        }
    }
}
