//! The dilations with which a `ResNet` keeps output stride 8.

/// How the last two stages are dilated, whose strides are 1 instead of 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dilation {
    /// The first block of a stage keeps the dilation of the stage before: 1, 2, 2, ... and 2, 4, 4,
    /// ..., as in torchvision and timm.
    Delayed,
    /// All blocks of a stage alike: 2 and 4, as in semseg.
    Whole,
}

/// Stride and dilations of a stage.
pub(crate) struct Stage {
    pub(crate) stride: usize,
    pub(crate) first_dilation: usize,
    pub(crate) dilation: usize,
}

impl Dilation {
    /// The four stages.
    pub(crate) fn stages(self) -> [Stage; 4] {
        let [third, fourth] = match self {
            Self::Delayed => [1, 2],
            Self::Whole => [2, 4],
        };
        [
            Stage { stride: 1, first_dilation: 1, dilation: 1 },
            Stage { stride: 2, first_dilation: 1, dilation: 1 },
            Stage { stride: 1, first_dilation: third, dilation: 2 },
            Stage { stride: 1, first_dilation: fourth, dilation: 4 },
        ]
    }
}
