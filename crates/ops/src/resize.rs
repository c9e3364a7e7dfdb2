//! The sizes of a bilinear interpolation.

/// Where the pixels of a map lie when it is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// Pixels are areas: their centres lie at half integers (PyTorch's `align_corners=False`).
    #[default]
    HalfPixel,
    /// Pixels are points: corners map to corners (PyTorch's `align_corners=True`).
    AlignCorners,
}

/// The sizes of a resized map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resize {
    /// Height and width before.
    pub(crate) source: [usize; 2],
    /// Height and width after.
    pub(crate) target: [usize; 2],
    pub(crate) channels: usize,
    pub(crate) alignment: Alignment,
}

impl Resize {
    /// Where each target row and each target column lies.
    pub(crate) fn positions(&self) -> [Vec<Between>; 2] {
        [0, 1].map(|axis| positions(self.source[axis], self.target[axis], self.alignment))
    }
}

/// The two source positions around one target position, and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Between {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) weight: f32,
}

/// For each of `target` positions, its place among `source` positions.
pub(crate) fn positions(source: usize, target: usize, alignment: Alignment) -> Vec<Between> {
    let (last, targets) = ((source - 1) as f64, target as f64);
    (0..target)
        .map(|index| {
            let index = index as f64;
            let at = match alignment {
                Alignment::HalfPixel => (index + 0.5) * source as f64 / targets - 0.5,
                Alignment::AlignCorners if target > 1 => index * last / (targets - 1.0),
                Alignment::AlignCorners => 0.0,
            };
            let at = at.clamp(0.0, last);
            let first = at as usize;
            Between { first, second: (first + 1).min(source - 1), weight: (at - first as f64) as f32 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pixel_centres_repeat_the_border() {
        let at = positions(2, 4, Alignment::HalfPixel);
        let values: Vec<f32> = at.iter().map(|p| p.first as f32 + p.weight).collect();
        assert_eq!(values, [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn aligned_corners_keep_the_corners() {
        let at = positions(3, 5, Alignment::AlignCorners);
        let values: Vec<f32> = at.iter().map(|p| p.first as f32 + p.weight).collect();
        assert_eq!(values, [0.0, 0.5, 1.0, 1.5, 2.0]);
    }
}
