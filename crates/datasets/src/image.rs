//! Pictures and label maps as plain arrays.

/// The value of unlabelled pixels in a label map.
pub const IGNORE_LABEL: u8 = 255;

/// An 8-bit RGB image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Row by row, red, green and blue of each pixel: `height * width * 3` values.
    pub data: Vec<u8>,
}

/// A class, or another 8-bit number, for each pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Row by row: `height * width` values.
    pub data: Vec<u8>,
}

/// An image and its label map, of the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The sample's name within its dataset.
    pub id: String,
    /// The image.
    pub image: Image,
    /// Class indices, and [`IGNORE_LABEL`].
    pub label: LabelMap,
}
