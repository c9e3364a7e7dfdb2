//! Pictures and label maps as plain arrays.

/// The value of a label map at pixels that are not labelled.
pub const IGNORE_LABEL: u8 = 255;

/// An 8-bit RGB image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row, red, green and blue of each pixel: `height * width * 3` values.
    pub data: Vec<u8>,
}

/// A class, or another 8-bit number, for each pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row: `height * width` values.
    pub data: Vec<u8>,
}

/// An image with its label map, of the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Names the sample within its dataset.
    pub id: String,
    /// The image.
    pub image: Image,
    /// Class indices, and [`IGNORE_LABEL`].
    pub label: LabelMap,
}
