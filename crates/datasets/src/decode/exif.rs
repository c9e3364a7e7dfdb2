//! The orientation recorded by a camera.

/// The transformation that brings the stored picture upright: EXIF's numbers 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation(u8);

impl Orientation {
    /// Stored upright, as displayed.
    pub(super) const UPRIGHT: Self = Self(1);

    /// The orientation in a TIFF structure, the format of EXIF data. If it is missing or invalid,
    /// the picture counts as upright, as in other programs.
    pub(super) fn of_tiff(tiff: &[u8]) -> Self {
        match find(tiff) {
            Some(orientation @ 1..=8) => Self(orientation as u8),
            _ => Self::UPRIGHT,
        }
    }

    /// Whether the stored picture is not upright.
    pub(crate) fn turns(self) -> bool {
        self != Self::UPRIGHT
    }

    /// Width and height of an upright picture whose stored size is `width` x `height`.
    pub(crate) fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.0 >= 5 { (height, width) } else { (width, height) }
    }

    /// Turns `data` of `width` x `height` pixels of `channels` bytes upright. Also returns the new
    /// size.
    pub(super) fn turn(
        self,
        data: Vec<u8>,
        width: usize,
        height: usize,
        channels: usize,
    ) -> (usize, usize, Vec<u8>) {
        if self == Self::UPRIGHT {
            return (width, height, data);
        }
        let (right, bottom) = (width - 1, height - 1);
        let (new_width, new_height) = self.size(width, height);
        let mut turned = Vec::with_capacity(data.len());
        for y in 0..new_height {
            for x in 0..new_width {
                let (from_x, from_y) = match self.0 {
                    2 => (right - x, y),
                    3 => (right - x, bottom - y),
                    4 => (x, bottom - y),
                    5 => (y, x),
                    6 => (y, bottom - x),
                    7 => (right - y, bottom - x),
                    _ => (right - y, x),
                };
                let at = (from_y * width + from_x) * channels;
                turned.extend_from_slice(&data[at..at + channels]);
            }
        }
        (new_width, new_height, turned)
    }
}

/// The orientation's tag and the type of its value.
const TAG: u16 = 0x0112;
const SHORT: u16 = 3;

/// The orientation in the first directory.
fn find(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.get(..4)? {
        b"II\x2a\0" => true,
        b"MM\0\x2a" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes: [u8; 2] = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes: [u8; 4] = tiff.get(at..at + 4)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(directory)?);
    let mut tags = (0..entries).map(|entry| directory + 2 + 12 * entry);
    let tag = tags.find(|at| short(*at) == Some(TAG))?;
    (short(tag + 2)? == SHORT).then(|| short(tag + 8))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiff(little: bool, orientation: u16) -> Vec<u8> {
        let short = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let long = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut bytes = if little { b"II\x2a\0".to_vec() } else { b"MM\0\x2a".to_vec() };
        bytes.extend(long(8));
        bytes.extend(short(2));
        for (tag, value) in [(0x0100, 7), (0x0112, orientation)] {
            bytes.extend(short(tag));
            bytes.extend(short(3));
            bytes.extend(long(1));
            bytes.extend(short(value));
            bytes.extend([0, 0]);
        }
        bytes
    }

    #[test]
    fn both_byte_orders_are_read_and_nonsense_is_upright() {
        assert_eq!(Orientation::of_tiff(&tiff(true, 6)), Orientation(6));
        assert_eq!(Orientation::of_tiff(&tiff(false, 8)), Orientation(8));
        assert_eq!(Orientation::of_tiff(&tiff(true, 9)), Orientation::UPRIGHT);
        let whole = tiff(false, 3);
        for end in 0..whole.len() - 3 {
            assert_eq!(Orientation::of_tiff(&whole[..end]), Orientation::UPRIGHT);
        }
        assert_eq!(Orientation::of_tiff(b"II\x2a\0\xff\xff\xff\xff"), Orientation::UPRIGHT);
    }

    #[test]
    fn every_orientation_moves_the_pixels_as_exif_says() {
        // 0 1 2
        // 3 4 5
        for (orientation, size, expected) in [
            (1, (3, 2), [0, 1, 2, 3, 4, 5]),
            (2, (3, 2), [2, 1, 0, 5, 4, 3]),
            (3, (3, 2), [5, 4, 3, 2, 1, 0]),
            (4, (3, 2), [3, 4, 5, 0, 1, 2]),
            (5, (2, 3), [0, 3, 1, 4, 2, 5]),
            (6, (2, 3), [3, 0, 4, 1, 5, 2]),
            (7, (2, 3), [5, 2, 4, 1, 3, 0]),
            (8, (2, 3), [2, 5, 1, 4, 0, 3]),
        ] {
            let (width, height, data) = Orientation(orientation).turn(vec![0, 1, 2, 3, 4, 5], 3, 2, 1);
            assert_eq!(((width, height), data), (size, expected.to_vec()), "{orientation}");
        }
    }
}
