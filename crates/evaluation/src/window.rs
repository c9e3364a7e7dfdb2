//! How an evaluation presents images to the network: whole, in windows, or its centre only.

use std::fmt;

use candle_core::{DType, Tensor};
use robustseg_attacks::{Alignment, Model};
use robustseg_ops::{predict, upsample_bilinear};
use serde::{Deserialize, Serialize};

use crate::grid::{Grid, add};
use crate::{Error, Result};

/// How an evaluation presents images to the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Window {
    /// The whole image at once.
    #[default]
    Whole,
    /// Square windows of `size` pixels every `stride` pixels; the last ones end at the border. Each
    /// window's logits are upsampled to its pixels and averaged where windows overlap. Attacks use
    /// the gradient through that average, so an attack on an image holds all its windows in memory
    /// at once.
    Sliding {
        /// Side of a window in pixels. A smaller image is a single window.
        size: usize,
        /// Distance between neighbouring windows in pixels, at most `size`.
        stride: usize,
    },
    /// Only the square of `size` pixels in the centre. A smaller image stays whole.
    CenterCrop {
        /// Side of the square in pixels.
        size: usize,
    },
}

/// As a phrase about images: `centre 184x184 of each`. Empty for whole images.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole => Ok(()),
            Self::Sliding { size, stride } => write!(f, "in windows of {size}x{size} every {stride} pixels"),
            Self::CenterCrop { size } => write!(f, "centre {size}x{size} of each"),
        }
    }
}

impl Window {
    /// Refuses sizes and strides that would skip pixels.
    pub fn validate(&self) -> Result<()> {
        let reason = match *self {
            Self::Sliding { size: 0, .. } | Self::CenterCrop { size: 0 } => "size must be at least 1".into(),
            Self::Sliding { stride: 0, .. } => "stride must be at least 1".into(),
            Self::Sliding { size, stride } if stride > size => {
                format!("a stride of {stride} leaves gaps between windows of {size}")
            }
            _ => return Ok(()),
        };
        Err(Error::Setting { field: "window", reason })
    }

    /// This window, unless it is the whole image.
    pub(crate) fn of_part(self) -> Option<Self> {
        Some(self).filter(|window| *window != Self::Whole)
    }

    /// The part of a `height` x `width` image that is evaluated: top, left, height, width.
    pub fn region(&self, height: usize, width: usize) -> [usize; 4] {
        let Self::CenterCrop { size } = *self else {
            return [0, 0, height, width];
        };
        let (h, w) = (size.min(height), size.min(width));
        [(height - h) / 2, (width - w) / 2, h, w]
    }
}

/// The number of windows of an image, and their common height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Views {
    /// The number of windows.
    pub count: usize,
    /// Rows per window.
    pub height: usize,
    /// Pixels per row of a window.
    pub width: usize,
}

impl Window {
    /// The windows of an image of `height` x `width`.
    pub fn views(&self, height: usize, width: usize) -> Views {
        match *self {
            Self::Sliding { size, stride } => {
                let grid = Grid::new(height, width, size, stride);
                Views { count: grid.count(), height: grid.height, width: grid.width }
            }
            Self::Whole | Self::CenterCrop { .. } => {
                let [_, _, height, width] = self.region(height, width);
                Views { count: 1, height, width }
            }
        }
    }
}

/// A model behind windows: its logits are the average of `model`'s logits over them.
#[derive(Clone, Copy)]
pub(crate) struct Windowed<'a> {
    model: &'a dyn Model,
    window: Window,
}

impl<'a> Windowed<'a> {
    /// Wraps `model` in `window`.
    pub(crate) fn new(model: &'a dyn Model, window: Window) -> Self {
        Self { model, window }
    }

    /// The predicted classes (N, H, W) for `image` (N, 3, H, W). They equal those of
    /// [`Model::logits`], but full-size logits exist for at most as many rows at once as a sliding
    /// window has.
    pub(crate) fn predict(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        let alignment = self.model.alignment();
        let Window::Sliding { size, stride } = self.window else {
            return predict(&self.logits(image)?, height, width, alignment);
        };
        let grid = Grid::new(height, width, size, stride);
        let mut labels = Vec::with_capacity(grid.tops.len());
        // The sum over the windows so far, from row `top` downwards.
        let mut sum: Option<Tensor> = None;
        for (index, &top) in grid.tops.iter().enumerate() {
            let strip = self.strip(image, &grid, top)?;
            let overlap = sum.as_ref().map_or(Ok(0), |sum| sum.dim(1))?;
            let band = add(sum, strip.narrow(1, 0, overlap.max(1))?)?;
            let band = match overlap {
                0 => strip,
                _ => Tensor::cat(&[&band, &strip.narrow(1, overlap, grid.height - overlap)?], 1)?,
            };
            // No further window covers the rows above the next window's top.
            let done = grid.tops.get(index + 1).map_or(grid.height, |next| next - top);
            let finished =
                band.narrow(1, 0, done)?.broadcast_mul(&grid.shares(top, done, image.device())?)?;
            labels.push(predict(&finished.contiguous()?, done, width, alignment)?);
            sum = if done < grid.height { Some(band.narrow(1, done, grid.height - done)?) } else { None };
        }
        Tensor::cat(&labels, 1)
    }

    /// Full-size logits (N, H, W, K): the average over windows of `size` every `stride` pixels.
    fn average(&self, image: &Tensor, size: usize, stride: usize) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        let grid = Grid::new(height, width, size, stride);
        let mut sum: Option<Tensor> = None;
        for &top in &grid.tops {
            let strip = self.strip(image, &grid, top)?;
            let placed = strip.pad_with_zeros(1, top, height - top - grid.height)?;
            sum = Some(add(sum, placed)?);
        }
        let Some(sum) = sum else {
            candle_core::bail!("an image without pixels has no windows: {:?}", image.shape())
        };
        sum.broadcast_mul(&grid.shares(0, height, image.device())?)
    }

    /// The sum (N, window's height, W, K) over the windows whose first row is `top`.
    fn strip(&self, image: &Tensor, grid: &Grid, top: usize) -> candle_core::Result<Tensor> {
        let mut strip: Option<Tensor> = None;
        for &left in &grid.lefts {
            let part = image.narrow(2, top, grid.height)?.narrow(3, left, grid.width)?.contiguous()?;
            let logits = self.model.logits(&part)?;
            let logits = upsample_bilinear(&logits, grid.height, grid.width, self.model.alignment())?;
            let placed = logits.pad_with_zeros(2, left, grid.columns - left - grid.width)?;
            strip = Some(add(strip, placed)?);
        }
        strip.ok_or_else(|| candle_core::Error::Msg("an image without pixels has no windows".into()))
    }
}

impl Model for Windowed<'_> {
    fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        match self.window {
            Window::Whole | Window::CenterCrop { .. } => self.model.logits(image),
            Window::Sliding { size, stride } => self.average(image, size, stride),
        }
    }

    fn image_dtype(&self) -> DType {
        self.model.image_dtype()
    }

    fn alignment(&self) -> Alignment {
        self.model.alignment()
    }

    fn has_surrogate_gradient(&self) -> bool {
        self.model.has_surrogate_gradient()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// Logits that are a fixed linear map of each pixel, so windows make no difference.
    fn per_pixel(image: &Tensor) -> candle_core::Result<Tensor> {
        let pixels = image.permute((0, 2, 3, 1))?.contiguous()?;
        let matrix = Tensor::new(&[[1.0_f32, -2.0], [0.5, 3.0], [-1.5, 0.25]], image.device())?;
        pixels.broadcast_matmul(&matrix)
    }

    /// Logits that are the mean of the input, so windows make a difference.
    fn mean_of_view(image: &Tensor) -> candle_core::Result<Tensor> {
        let (n, _, h, w) = image.dims4()?;
        image.mean_keepdim((1, 2, 3))?.broadcast_as((n, h, w, 1))?.contiguous()
    }

    fn image(height: usize, width: usize) -> candle_core::Result<Tensor> {
        let values = (0..3 * height * width).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu)
    }

    fn distance(a: &Tensor, b: &Tensor) -> candle_core::Result<f32> {
        (a - b)?.abs()?.max_all()?.to_scalar()
    }

    #[test]
    fn averaging_equal_logits_changes_nothing_and_neither_does_its_gradient() -> candle_core::Result<()> {
        let image = Var::from_tensor(&image(11, 7)?)?;
        let windowed = Windowed::new(&per_pixel, Window::Sliding { size: 4, stride: 3 });
        let averaged = windowed.logits(&image)?;
        let whole = per_pixel(&image)?;
        assert!(distance(&averaged, &whole)? < 1e-5);
        let gradient = |logits: &Tensor| -> candle_core::Result<Tensor> {
            let gradients = logits.sqr()?.sum_all()?.backward()?;
            Ok(gradients.get(image.as_tensor()).unwrap().clone())
        };
        assert!(distance(&gradient(&averaged)?, &gradient(&whole)?)? < 1e-4);
        Ok(())
    }

    #[test]
    fn one_window_that_covers_the_image_is_the_whole_image() -> candle_core::Result<()> {
        let image = image(5, 7)?;
        let windowed = Windowed::new(&mean_of_view, Window::Sliding { size: 9, stride: 2 });
        assert_eq!(distance(&windowed.logits(&image)?, &mean_of_view(&image)?)?, 0.0);
        Ok(())
    }

    #[test]
    fn predictions_in_bands_are_those_of_the_full_size_logits() -> candle_core::Result<()> {
        let classes = |image: &Tensor| -> candle_core::Result<Tensor> {
            // Windows affect one class, and pixels the others.
            Tensor::cat(&[per_pixel(image)?, mean_of_view(image)?], 3)
        };
        let image = image(23, 17)?;
        for (size, stride) in [(8, 3), (8, 8), (9, 1), (40, 7), (17, 5), (6, 4)] {
            let windowed = Windowed::new(&classes, Window::Sliding { size, stride });
            let whole = predict(&windowed.logits(&image)?, 23, 17, windowed.alignment())?;
            let banded = windowed.predict(&image)?;
            assert_eq!(banded.dims(), whole.dims());
            let bytes = |labels: &Tensor| labels.flatten_all()?.to_vec1::<u8>();
            assert_eq!(bytes(&banded)?, bytes(&whole)?, "{size} {stride}");
        }
        Ok(())
    }

    #[test]
    fn views_are_counted() {
        let views = |window: Window| {
            let Views { count, height, width } = window.views(10, 7);
            (count, height, width)
        };
        assert_eq!(views(Window::Whole), (1, 10, 7));
        assert_eq!(views(Window::CenterCrop { size: 8 }), (1, 8, 7));
        assert_eq!(views(Window::Sliding { size: 4, stride: 3 }), (6, 4, 4));
    }

    #[test]
    fn overlaps_are_averages_by_hand() -> candle_core::Result<()> {
        // One row of 3 pixels in two windows of 2: both cover the middle pixel.
        let pixels = Tensor::new(&[0.0_f32, 0.3, 0.9], &Device::Cpu)?.reshape((1, 1, 1, 3))?;
        let image = pixels.broadcast_as((1, 3, 1, 3))?.contiguous()?;
        let windowed = Windowed::new(&mean_of_view, Window::Sliding { size: 2, stride: 1 });
        let logits = windowed.logits(&image)?.flatten_all()?.to_vec1::<f32>()?;
        for (logit, expected) in logits.iter().zip([0.15, 0.375, 0.6]) {
            assert!((logit - expected).abs() < 1e-6, "{logits:?}");
        }
        Ok(())
    }

    #[test]
    fn regions_and_bad_windows() {
        assert_eq!(Window::CenterCrop { size: 4 }.region(9, 6), [2, 1, 4, 4]);
        assert_eq!(Window::CenterCrop { size: 8 }.region(9, 6), [0, 0, 8, 6]);
        assert_eq!(Window::Whole.region(9, 6), [0, 0, 9, 6]);
        assert!(Window::Sliding { size: 4, stride: 4 }.validate().is_ok());
        for bad in [
            Window::Sliding { size: 4, stride: 5 },
            Window::Sliding { size: 4, stride: 0 },
            Window::Sliding { size: 0, stride: 0 },
            Window::CenterCrop { size: 0 },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
