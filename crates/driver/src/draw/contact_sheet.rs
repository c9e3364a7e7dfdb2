//! Pictures of any size in rows and columns.

use robustseg_datasets::Image;

/// Height of a cell, and the white around it, in pixels.
const HEIGHT: usize = 240;
const GAP: usize = 8;

/// `rows` of pictures on white, each scaled to one height and centred in its column. Very wide
/// pictures are lower, so that a column is at most twice as wide as high.
pub fn contact_sheet(rows: &[Vec<Image>]) -> Image {
    let cells: Vec<Vec<Image>> = rows.iter().map(|row| row.iter().map(fitted).collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.width).max();
    let widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    let width = GAP + widths.iter().map(|width| width + GAP).sum::<usize>();
    let height = GAP + rows.len() * (HEIGHT + GAP);
    let mut sheet = Image { width, height, data: vec![255; width * height * 3] };
    for (index, row) in cells.iter().enumerate() {
        let mut left = GAP;
        for (cell, column) in row.iter().zip(&widths) {
            let top = GAP + index * (HEIGHT + GAP) + (HEIGHT - cell.height) / 2;
            paste(&mut sheet, cell, left + (column - cell.width) / 2, top);
            left += column + GAP;
        }
    }
    sheet
}

/// `picture` as large as a cell allows.
fn fitted(picture: &Image) -> Image {
    let scale = (HEIGHT as f64 / picture.height as f64).min(2.0 * HEIGHT as f64 / picture.width as f64);
    let side = |pixels: usize| ((pixels as f64 * scale).round() as usize).max(1);
    resized(picture, side(picture.width), side(picture.height).min(HEIGHT))
}

/// `picture` with `width` x `height` pixels, each the mean of those that it covers, or the nearest
/// one.
fn resized(picture: &Image, width: usize, height: usize) -> Image {
    let covered = |at: usize, sides: usize, pixels: usize| {
        let first = at * pixels / sides;
        first..((at + 1) * pixels / sides).max(first + 1)
    };
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let rows = covered(y, height, picture.height);
        for x in 0..width {
            let columns = covered(x, width, picture.width);
            let count = rows.len() * columns.len();
            for channel in 0..3 {
                let of_row = |row: usize| -> usize {
                    let value =
                        |column| usize::from(picture.data[(row * picture.width + column) * 3 + channel]);
                    columns.clone().map(value).sum()
                };
                data.push((rows.clone().map(of_row).sum::<usize>() / count) as u8);
            }
        }
    }
    Image { width, height, data }
}

fn paste(sheet: &mut Image, picture: &Image, left: usize, top: usize) {
    for (row, line) in picture.data.chunks_exact(picture.width * 3).enumerate() {
        let start = ((top + row) * sheet.width + left) * 3;
        sheet.data[start..start + line.len()].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize, height: usize, value: u8) -> Image {
        Image { width, height, data: vec![value; width * height * 3] }
    }

    #[test]
    fn cells_stand_in_the_middle_of_their_columns() {
        let rows = [vec![plain(480, 480, 1), plain(100, 200, 2)], vec![plain(2048, 512, 3)]];
        let sheet = contact_sheet(&rows);
        assert_eq!((sheet.width, sheet.height), (GAP + 480 + GAP + 120 + GAP, 2 * (HEIGHT + GAP) + GAP));
        let at = |x: usize, y: usize| sheet.data[(y * sheet.width + x) * 3];
        // The first is 240 wide in a column of 480; the second fills its own; the third is 480 x
        // 120.
        assert_eq!((at(GAP + 119, 100), at(GAP + 120, 100), at(GAP + 359, 100)), (255, 1, 1));
        assert_eq!((at(2 * GAP + 480, 100), at(sheet.width - 1, 100)), (2, 255));
        let second = 2 * GAP + HEIGHT;
        assert_eq!((at(GAP, second + 59), at(GAP, second + 60), at(GAP + 479, second + 179)), (255, 3, 3));
    }

    #[test]
    fn shrinking_takes_means_and_growing_repeats() {
        let picture = Image { width: 2, height: 2, data: [[0; 3], [100; 3], [20; 3], [40; 3]].concat() };
        assert_eq!(resized(&picture, 1, 1).data, [40; 3]);
        assert_eq!(resized(&picture, 4, 2).data[..12], [[0; 3], [0; 3], [100; 3], [100; 3]].concat());
    }
}
