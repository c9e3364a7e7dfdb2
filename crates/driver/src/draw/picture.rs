//! Pictures of label maps, errors and perturbations, and rows of pictures.

use anyhow::ensure;
use robustseg_datasets::Image;
use robustseg_ops::IGNORE_LABEL;

/// White pixels between two pictures of a row.
const GAP: usize = 8;

/// `labels` (row by row, `width` pixels each) in the colours of `palette`. Values beyond the
/// palette are white, among them 255 for unlabelled pixels.
pub fn coloured(labels: &[u8], width: usize, palette: &[[u8; 3]]) -> Image {
    let colour = |label: &u8| palette.get(usize::from(*label)).copied().unwrap_or([255; 3]);
    let height = labels.len() / width.max(1);
    Image { width, height, data: labels[..width * height].iter().flat_map(colour).collect() }
}

/// The four outcomes of a pixel and their colours in an error map.
pub const ERRORS: [(&str, [u8; 3]); 4] = [
    ("right in both", [225, 225, 225]),
    ("wrong in both", [110, 110, 110]),
    ("wrong under the attack alone", [213, 94, 0]),
    ("right under the attack alone", [0, 114, 178]),
];

/// The index in [`ERRORS`] of each pixel's outcome; 255 for unlabelled pixels.
pub fn errors(label: &[u8], prediction: &[u8], adversarial_prediction: &[u8]) -> Vec<u8> {
    let predictions = prediction.iter().zip(adversarial_prediction);
    let error = |(&label, (&before, &after)): (&u8, (&u8, &u8))| match (before == label, after == label) {
        _ if label == IGNORE_LABEL => IGNORE_LABEL,
        (true, true) => 0,
        (false, false) => 1,
        (true, false) => 2,
        (false, true) => 3,
    };
    label.iter().zip(predictions).map(error).collect()
}

/// The difference of `adversarial` and `image` around grey, multiplied to fill the range of 8 bits,
/// and the factor. Both are RGB bytes in rows of `width` pixels.
pub fn perturbation(image: &[u8], adversarial: &[u8], width: usize) -> (Image, u8) {
    let largest = image.iter().zip(adversarial).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    let times = 127 / largest.max(1);
    let shown = |(a, b): (&u8, &u8)| (128 + (i32::from(*b) - i32::from(*a)) * i32::from(times)) as u8;
    let data: Vec<u8> = image.iter().zip(adversarial).map(shown).collect();
    (Image { width, height: data.len() / (3 * width.max(1)), data }, times)
}

/// `pictures` in a row from left to right with white gaps.
///
/// # Errors
/// If `pictures` is empty or their heights differ.
pub fn side_by_side(pictures: &[Image]) -> anyhow::Result<Image> {
    let height = pictures.first().map_or(0, |first| first.height);
    let heights: Vec<usize> = pictures.iter().map(|picture| picture.height).collect();
    ensure!(
        height > 0 && heights.iter().all(|other| *other == height),
        "pictures of the heights {heights:?} do not fit into one row"
    );
    let mut data = Vec::new();
    for row in 0..height {
        for (index, picture) in pictures.iter().enumerate() {
            if index > 0 {
                data.extend([255; 3 * GAP]);
            }
            let stride = 3 * picture.width;
            data.extend(&picture.data[row * stride..(row + 1) * stride]);
        }
    }
    let width = pictures.iter().map(|picture| picture.width).sum::<usize>() + GAP * (pictures.len() - 1);
    Ok(Image { width, height, data })
}

/// Every `step`th pixel of every `step`th row of `data`, whose rows have `width` pixels of
/// `channels` bytes. Labels and perturbations keep their values, which averaging would change.
pub fn thinned(data: &[u8], width: usize, channels: usize, step: usize) -> Vec<u8> {
    let rows = data.chunks_exact((width * channels).max(1)).step_by(step);
    rows.flat_map(|row| row.chunks_exact(channels).step_by(step)).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_their_colours_and_the_rest_is_white() {
        let picture = coloured(&[0, 1, 255, 1], 2, &[[1, 2, 3], [4, 5, 6]]);
        assert_eq!((picture.width, picture.height), (2, 2));
        assert_eq!(picture.data, [1, 2, 3, 4, 5, 6, 255, 255, 255, 4, 5, 6]);
    }

    #[test]
    fn errors_tell_what_the_attack_did() {
        assert_eq!(errors(&[1, 1, 1, 1, 255], &[1, 2, 1, 2, 1], &[1, 3, 2, 1, 1]), [0, 1, 2, 3, 255]);
    }

    #[test]
    fn a_perturbation_fills_the_range() {
        let (picture, times) = perturbation(&[100, 100, 100, 0, 0, 0], &[108, 92, 100, 1, 0, 0], 2);
        assert_eq!(times, 15);
        assert_eq!(picture.data, [248, 8, 128, 143, 128, 128]);
        let (picture, _) = perturbation(&[7; 3], &[7; 3], 1);
        assert_eq!(picture.data, [128; 3]);
    }

    #[test]
    fn pictures_stand_in_a_row() {
        let one = Image { width: 1, height: 2, data: vec![1, 1, 1, 2, 2, 2] };
        let row = side_by_side(&[one.clone(), one.clone()]).unwrap();
        assert_eq!((row.width, row.height), (2 + GAP, 2));
        assert_eq!((row.data[0], row.data[3], row.data[3 * (1 + GAP)]), (1, 255, 1));
        assert_eq!(row.data[3 * (2 + GAP)], 2);
        let other = Image { width: 1, height: 1, data: vec![0; 3] };
        assert!(side_by_side(&[one, other]).unwrap_err().to_string().contains("[2, 1]"));
        assert!(side_by_side(&[]).is_err());
    }

    #[test]
    fn thinning_keeps_every_other_pixel() {
        let data: Vec<u8> = (0..12).collect();
        assert_eq!(thinned(&data, 4, 1, 2), [0, 2, 8, 10]);
        assert_eq!(thinned(&data, 2, 2, 2), [0, 1, 8, 9]);
        assert_eq!(thinned(&data, 3, 1, 1), data);
    }
}
