//! The size of crops.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Error, Result};

/// Height and width of a crop in pixels. A spec has one number for a square, or `[height, width]`.
///
/// ```
/// use robustseg_datasets::CropSize;
///
/// let size: CropSize = serde_yaml::from_str("[512, 1024]")?;
/// assert_eq!((size.height, size.width), (512, 1024));
/// assert_eq!(serde_yaml::from_str::<CropSize>("472")?, CropSize::from(472));
/// assert_eq!(size.to_string(), "512 x 1024");
/// # Ok::<(), serde_yaml::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl CropSize {
    /// The number of pixels.
    pub fn pixels(self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// This size with `margin` more pixels on each side.
    pub(crate) fn widened(self, margin: usize) -> Self {
        Self { height: self.height + 2 * margin, width: self.width + 2 * margin }
    }

    pub(crate) fn validate(self) -> Result<()> {
        if [self.height, self.width].iter().all(|side| (8..=8192).contains(side)) {
            return Ok(());
        }
        let sides = if self.height == self.width { "" } else { "both sides " };
        let reason = format!("{sides}must be from 8 to 8192 pixels, and it is {self}");
        Err(Error::Setting { setting: "crop", reason })
    }
}

impl From<usize> for CropSize {
    /// A square.
    fn from(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl From<[usize; 2]> for CropSize {
    fn from([height, width]: [usize; 2]) -> Self {
        Self { height, width }
    }
}

impl fmt::Display for CropSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.height, self.width)
    }
}

impl Serialize for CropSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.height == self.width {
            self.height.serialize(serializer)
        } else {
            [self.height, self.width].serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for CropSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SideOrSides;

        impl<'de> Visitor<'de> for SideOrSides {
            type Value = CropSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of pixels, or a list of height and width")
            }

            fn visit_u64<E: de::Error>(self, side: u64) -> Result<CropSize, E> {
                Ok(usize::try_from(side).unwrap_or(usize::MAX).into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CropSize, A::Error> {
                let mut sides = [0; 2];
                for (place, side) in sides.iter_mut().enumerate() {
                    *side = list.next_element()?.ok_or_else(|| de::Error::invalid_length(place, &self))?;
                }
                let mut more = 0;
                while list.next_element::<de::IgnoredAny>()?.is_some() {
                    more += 1;
                }
                if more > 0 {
                    return Err(de::Error::invalid_length(sides.len() + more, &self));
                }
                Ok(sides.into())
            }
        }

        deserializer.deserialize_any(SideOrSides)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for CropSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CropSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Height and width of a crop in pixels.",
            "oneOf": [
                {
                    "description": "Both sides of a square.",
                    "type": "integer",
                    "minimum": 8,
                    "maximum": 8192,
                },
                {
                    "description": "Height and width.",
                    "type": "array",
                    "items": { "type": "integer", "minimum": 8, "maximum": 8192 },
                    "minItems": 2,
                    "maxItems": 2,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_a_square_and_two_are_height_and_width() {
        let read = |text: &str| serde_yaml::from_str::<CropSize>(text).map_err(|error| error.to_string());
        assert_eq!(read("64"), Ok(64.into()));
        assert_eq!(read("[64, 96]"), Ok(CropSize { height: 64, width: 96 }));
        for size in [CropSize::from(64), [64, 96].into()] {
            assert_eq!(read(&serde_yaml::to_string(&size).unwrap()), Ok(size));
        }
        for text in ["[64]", "[64, 96, 3]", "wide", "-8", "[8, -8]", "{height: 64}", "1.5"] {
            assert!(read(text).is_err(), "{text}");
        }
        for size in [CropSize::from(7), [8, 8193].into(), [7, 8].into()] {
            assert!(size.validate().unwrap_err().to_string().starts_with("crop: "), "{size}");
        }
    }
}
